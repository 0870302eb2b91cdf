"""Evaluation: what the student reaches, what it costs, and whether the teacher helped."""

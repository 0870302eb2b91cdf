"""Trainings with a planted fault, and healthy ones: what the doctor is measured on."""

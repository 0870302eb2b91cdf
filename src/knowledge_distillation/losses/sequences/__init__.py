"""Losses for language models and other sequences."""

"""Losses for numbers and for independent labels."""

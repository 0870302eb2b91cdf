"""Losses from how samples relate to each other."""

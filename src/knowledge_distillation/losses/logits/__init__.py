"""Losses from the class scores alone."""

"""Losses from hidden states and attention."""

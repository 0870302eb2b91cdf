"""Losses of language models: ours, those of peers, and how much memory each needs."""

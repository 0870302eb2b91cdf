"""Losses for sentence and image embeddings."""

"""The fused losses against the plain ones."""

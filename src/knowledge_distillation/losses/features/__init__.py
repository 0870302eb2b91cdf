"""Losses from feature maps inside the models."""

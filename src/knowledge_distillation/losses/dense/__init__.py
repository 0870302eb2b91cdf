"""Losses for segmentation and detection."""

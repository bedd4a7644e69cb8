"""Clips: layouts, validation, keypoint decoding and normalisation."""

"""Fusion: one image of two modalities of the same place."""

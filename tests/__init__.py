"""Tests; folders mirror the tree."""

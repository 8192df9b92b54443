"""Reconstruction: better images of what was measured, which never contradict it."""

"""Anomaly detection: what is unlike healthy images, and how sure one can be of it."""

"""Measures of results against truth."""

from trainers.metrics.segmentation import label_metrics

__all__ = ["label_metrics"]

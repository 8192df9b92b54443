"""Measures of results against truth."""

from trainers.metrics.segmentation import label_metrics, mean_dice

__all__ = ["label_metrics", "mean_dice"]

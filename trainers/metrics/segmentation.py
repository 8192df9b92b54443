"""Overlap and boundary distance of label maps, by MONAI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

Array = npt.NDArray[Any]


def label_metrics(
    predicted: Array, truth: Array, labels: Mapping[str, int], spacing: Sequence[float] | npt.NDArray[Any]
) -> dict[str, dict[str, float]]:
    """Dice and 95th-percentile Hausdorff distance of each label.

    Args:
        predicted: label map (x, y, z).
        truth: the same shape.
        labels: name to value.
        spacing: mm.

    Returns:
        `{"dice": {name: value}, "hd95_mm": {name: value}}`. A label that is in neither map has NaN for both; one that
        is in one map alone has Dice 0 and an infinite distance.
    """
    values = list(labels.values())
    region = _bounding_box((predicted > 0) | (truth > 0))
    one, two = (_channels(m[region], values) for m in (predicted, truth))
    dice = compute_dice(one, two, include_background=True, ignore_empty=False)[0]
    distance = compute_hausdorff_distance(
        one, two, include_background=True, percentile=95, spacing=[float(s) for s in spacing]
    )[0]
    out: dict[str, dict[str, float]] = {"dice": {}, "hd95_mm": {}}
    for name, d, h, p, t in zip(labels, dice, distance, one[0], two[0], strict=True):
        empty = (not p.any(), not t.any())
        out["dice"][name] = math.nan if all(empty) else float(d)
        out["hd95_mm"][name] = math.nan if all(empty) else math.inf if any(empty) else float(h)
    return out


def _channels(label: Array, values: Sequence[int]) -> torch.Tensor:
    """A label map as (1, label, x, y, z) masks."""
    return torch.from_numpy(np.stack([label == v for v in values])[None].astype(np.float32))


def _bounding_box(mask: Array, margin: int = 2) -> tuple[slice, ...]:
    """Slices around a mask, so that large empty images cost nothing; a small corner if it is empty."""
    if not mask.any():
        return (slice(0, 4),) * 3
    spots = np.argwhere(mask)
    low, high = np.maximum(spots.min(0) - margin, 0), spots.max(0) + 1 + margin
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

"""Overlap and boundary distance of label maps, by MONAI."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

# MONAI 1.6 warns of its own call to its own function.
warnings.filterwarnings("ignore", message=".*always_return_as_numpy.*")

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
    out: dict[str, dict[str, float]] = {"dice": {}, "hd95_mm": {}}
    for name, value in labels.items():
        out["dice"][name], out["hd95_mm"][name] = _compare(predicted == value, truth == value, spacing)
    return out


def mean_dice(predicted: Array, truth: Array, labels: Mapping[str, int]) -> float:
    """Mean Dice over the labels that are in either map; NaN if none is."""
    scores = [_dice(predicted == value, truth == value) for value in labels.values()]
    found = [score for score in scores if math.isfinite(score)]
    return float(np.mean(found)) if found else math.nan


def _dice(one: Array, other: Array) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else math.nan


def _compare(predicted: Array, truth: Array, spacing: Sequence[float] | Array) -> tuple[float, float]:
    """Dice and 95 % Hausdorff distance (mm) of two masks."""
    if not (predicted.any() and truth.any()):
        neither = not predicted.any() and not truth.any()
        return (math.nan, math.nan) if neither else (0.0, math.inf)
    region = _bounding_box(predicted | truth)
    one, two = (torch.from_numpy(m[region][None, None].astype(np.float32)) for m in (predicted, truth))
    steps = [float(s) for s in spacing]
    distance = compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=steps)
    return float(compute_dice(one, two, include_background=True)), float(distance)


def _bounding_box(mask: Array, margin: int = 2) -> tuple[slice, ...]:
    """Slices around a mask that is not empty, so that large images cost nothing."""
    spots = np.argwhere(mask)
    low, high = np.maximum(spots.min(0) - margin, 0), spots.max(0) + 1 + margin
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

"""Where in an image to look: windows from points, from a region of interest, or the whole of a small image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.volumes import VolumeError
from trainers.preprocess import CanonicalGrid, Preprocess, Window

SMALL = 1.75  # an image up to this many windows long on each axis is segmented whole, without a region


@dataclass(frozen=True)
class Roi:
    """A box: centre and size along the patient's axes, RAS mm."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]


def is_small(grid: CanonicalGrid, settings: Preprocess) -> bool:
    """Whether the whole image is about one window, as a crop around the organ is."""
    return all(n <= SMALL * w for n, w in zip(grid.shape, settings.window, strict=True))


def first_windows(
    grid: CanonicalGrid, settings: Preprocess, points: Sequence[Sequence[float]], roi: Roi | None
) -> list[Window]:
    """Windows to look at first.

    Args:
        grid: the image.
        settings: the model's.
        points: RAS mm, one near each organ.
        roi: a box that holds the organ.

    Returns:
        One window a point; else windows that cover the region with half a window of overlap.

    Raises:
        VolumeError: `needs_region` for a large image without either, or a point or region outside the image.
    """
    if points:
        for point in points:
            if not grid.contains(point):
                raise VolumeError(
                    "needs_region", f"The point {_text(point)} lies outside the image.", "Place it inside."
                )
        return [Window.around(grid.index(point), settings.window) for point in points]
    if roi is None:
        raise VolumeError(
            "needs_region",
            f"The image is {_text(grid.shape)} voxels, far larger than the organ.",
            "Place a point near the organ, or a region of interest around it.",
        )
    return _cover(grid, settings, roi)


def _cover(grid: CanonicalGrid, settings: Preprocess, roi: Roi) -> list[Window]:
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    corners = np.array([grid.index(np.asarray(roi.center) + s * np.asarray(roi.size) / 2) for s in signs])
    low = np.maximum(corners.min(0), 0)
    high = np.minimum(corners.max(0), np.array(grid.shape) - 1)
    if np.any(high <= low):
        raise VolumeError("needs_region", "The region of interest lies outside the image.", "Move it over the organ.")
    axes = [_centres(a, b, n) for a, b, n in zip(low, high, settings.window, strict=True)]
    return [Window.around((x, y, z), settings.window) for x in axes[0] for y in axes[1] for z in axes[2]]


def _centres(low: float, high: float, size: int) -> list[float]:
    """Middles of windows of `size` that cover low..high, at most half a window apart; one if they fit."""
    length = high - low
    if length <= 1.25 * size:
        return [(low + high) / 2]
    count = int(np.ceil((length - size) / (size / 2))) + 1
    return list(np.linspace(low + size / 2, high - size / 2, count))


def _text(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:g}" for v in np.round(np.asarray(values, float), 1)) + ")"

"""Where in an image to look: windows from points, from a region of interest, or the whole of a small image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.volumes import VolumeError
from trainers.preprocess import CanonicalGrid, Preprocess, Window

SMALL = 1.75  # an image up to this many windows long on each axis is segmented whole, without a region
ONE_WINDOW = 1.25  # what is up to this many windows long fits in one
MOST_WINDOWS = 64  # a region that needs more is too large to be a hint


@dataclass(frozen=True)
class Roi:
    """A box: centre and size along the patient's axes, RAS mm."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]


def is_small(grid: CanonicalGrid, settings: Preprocess) -> bool:
    """Whether the whole image is about one window, as a crop around the organ is."""
    return _fits(grid, settings, SMALL)


def is_one_window(grid: CanonicalGrid, settings: Preprocess) -> bool:
    """Whether the image has no room for a second organ, so that points in it say nothing new."""
    return _fits(grid, settings, ONE_WINDOW)


def windows_at(grid: CanonicalGrid, settings: Preprocess, points: Sequence[Sequence[float]]) -> list[Window]:
    """One window around each point (RAS mm). Raises VolumeError `needs_region` for a point outside the image."""
    for point in points:
        if not grid.contains(point):
            raise VolumeError("needs_region", f"The point {_text(point)} lies outside the image.", "Place it inside.")
    return [Window.around(grid.index(point), settings.window) for point in points]


def windows_over(grid: CanonicalGrid, settings: Preprocess, roi: Roi | None) -> list[Window]:
    """Windows that cover a region, half a window apart.

    Raises:
        VolumeError: `needs_region` without a region, or for one that is outside the image, empty or very large.
    """
    if roi is None:
        raise VolumeError(
            "needs_region",
            f"The image is {_text(grid.field)} voxels of the model's size, far larger than the organ.",
            "Place a point near the organ, or a region of interest around it.",
        )
    if min(roi.size) <= 0:
        raise VolumeError("needs_region", "The region of interest has no extent.", "Draw it around the organ.")
    axes = _grid_of_centres(grid, settings, roi)
    if np.prod([len(axis) for axis in axes]) > MOST_WINDOWS:
        raise VolumeError(
            "needs_region",
            f"The region of interest is {_text(roi.size)} mm, far larger than the organ.",
            "Draw it closer around the organ, or place points.",
        )
    return [Window.around((x, y, z), settings.window) for x in axes[0] for y in axes[1] for z in axes[2]]


def holds(roi: Roi, point: Sequence[float], margin_mm: float) -> bool:
    """Whether a point (RAS mm) lies in a box, or within a margin of it."""
    reach = np.asarray(roi.size) / 2 + margin_mm
    return bool(np.all(np.abs(np.subtract(point, roi.center)) <= reach))


def _fits(grid: CanonicalGrid, settings: Preprocess, windows: float) -> bool:
    return all(n <= windows * w for n, w in zip(grid.field, settings.window, strict=True))


def _grid_of_centres(grid: CanonicalGrid, settings: Preprocess, roi: Roi) -> list[list[float]]:
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    corners = np.array([grid.index(np.asarray(roi.center) + s * np.asarray(roi.size) / 2) for s in signs])
    low = np.maximum(corners.min(0), 0)
    high = np.minimum(corners.max(0), np.array(grid.shape) - 1)
    if np.any(high < low):
        raise VolumeError("needs_region", "The region of interest lies outside the image.", "Move it over the organ.")
    return [_centres(a, b, n) for a, b, n in zip(low, high, settings.window, strict=True)]


def _centres(low: float, high: float, size: int) -> list[float]:
    """Middles of windows of `size` that cover low..high, at most half a window apart; one if they fit."""
    length = high - low
    if length <= ONE_WINDOW * size:
        return [(low + high) / 2]
    count = int(np.ceil((length - size) / (size / 2))) + 1
    return list(np.linspace(low + size / 2, high - size / 2, count))


def _text(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:g}" for v in np.round(np.asarray(values, float), 1)) + ")"

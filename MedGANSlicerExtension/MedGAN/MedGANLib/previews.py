"""A picture of a sample for the panel: its middle slices with the label's outline. numpy only.

Slices are shown as radiologists look at them: patient's left on the right of axial and coronal slices, nose to the left
on sagittal ones.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import List, Mapping, Optional, Tuple

import numpy as np

from .records import Color

WINDOW = (1.0, 99.5)
"""Percentiles of the voxels that are shown black and white."""
BACKGROUND = 12
"""Grey around the slices, 0…255."""
OUTLINE = 2
"""Width of an outline in pixels."""


@dataclass(frozen=True)
class Slice:
    """A slice as it is shown: grey (rows, columns) in 0…1, label values or None, and a pixel's size (y, x) in mm."""

    grey: np.ndarray
    labels: Optional[np.ndarray]
    pixel: Tuple[float, float]

    @property
    def size(self) -> Tuple[float, float]:
        """Height and width in millimetres."""
        return self.grey.shape[0] * self.pixel[0], self.grey.shape[1] * self.pixel[1]


def middle_slices(voxels: np.ndarray, affine: np.ndarray, labels: Optional[np.ndarray] = None) -> List[Slice]:
    """Return the axial, coronal and sagittal slice through the middle; of a 2D picture the one that there is.

    Where the middle slice misses the label, the one through the label's middle is taken.

    Args:
        voxels: Image (k, j, i).
        affine: 4x4 matrix from (i, j, k) to RAS millimetres.
        labels: Label map on the same grid.
    """
    order, flips, spacing = _orientation(affine)
    image = _turned(_windowed(voxels), order, flips)
    label = None if labels is None else _turned(labels, order, flips)
    s, p, left = _cut_places(image.shape, label)
    ds, dp, dl = spacing
    cuts = (
        ((s, slice(None), slice(None)), (dp, dl)),
        ((slice(None, None, -1), p, slice(None)), (ds, dl)),
        ((slice(None, None, -1), slice(None), left), (ds, dp)),
    )
    flat = [place for place, count in enumerate(image.shape) if count == 1][:1]
    shown = [cuts[place] for place in flat] or cuts
    return [Slice(image[cut], None if label is None else label[cut], pixel) for cut, pixel in shown]


def paint(slices: List[Slice], colors: Mapping[int, Color], width: int, height: int, gap: int) -> np.ndarray:
    """Return slices side by side, as large as they fit, all on one scale.

    Args:
        slices: What to show.
        colors: Label value -> RGB in 0…1 of its outline.
        width: Width of the whole in pixels.
        height: The most that its height may be.
        gap: Pixels between slices.

    Returns:
        RGB (rows, columns, 3) as uint8.
    """
    box = (width - gap * (len(slices) - 1)) // len(slices)
    tallest, widest = (max(s.size[axis] for s in slices) for axis in (0, 1))
    scale = min(box / widest, height / tallest)
    rows = max(1, round(tallest * scale))
    canvas = np.full((rows, width, 3), BACKGROUND, np.uint8)
    for place, one in enumerate(slices):
        picture = _coloured(one, colors, scale)[:rows, :box]
        top = (rows - picture.shape[0]) // 2
        left = place * (box + gap) + (box - picture.shape[1]) // 2
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def png(rgb: np.ndarray) -> bytes:
    """Return a PNG file of RGB (rows, columns, 3) as uint8."""
    height, width = rgb.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, width * 3)], axis=1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _windowed(voxels: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(voxels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite, WINDOW)
    return np.clip((finite - low) / max(float(high - low), 1e-6), 0.0, 1.0)


def _orientation(affine: np.ndarray) -> Tuple[Tuple[int, ...], Tuple[bool, ...], Tuple[float, ...]]:
    """Return which voxel axes (0 is i) run most along S, P and L, which of them run the other way, and their mm."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left = _best(axes, 0, set())
    posterior = _best(axes, 1, {left})
    superior = ({0, 1, 2} - {left, posterior}).pop()
    order = (superior, posterior, left)
    flips = (axes[2, superior] < 0, axes[1, posterior] > 0, axes[0, left] > 0)
    return order, flips, tuple(float(np.linalg.norm(affine[:3, axis])) for axis in order)


def _best(axes: np.ndarray, direction: int, taken: set) -> int:
    return max({0, 1, 2} - taken, key=lambda axis: abs(axes[direction, axis]))


def _cut_places(shape: Tuple[int, ...], label: Optional[np.ndarray]) -> List[int]:
    """Return the index of the slice to show along each axis."""
    places = [count // 2 for count in shape]
    if label is None or not label.any():
        return places
    for axis in range(3):
        used = np.flatnonzero(label.any(axis=tuple(a for a in range(3) if a != axis)))
        if places[axis] not in used:
            places[axis] = int(used[len(used) // 2])
    return places


def _turned(array: np.ndarray, order: Tuple[int, ...], flips: Tuple[bool, ...]) -> np.ndarray:
    """Return an array (k, j, i) as (S, P, L)."""
    turned = array.transpose([2 - axis for axis in order])
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _coloured(one: Slice, colors: Mapping[int, Color], scale: float) -> np.ndarray:
    rows, columns = (max(1, int(n * scale)) for n in one.size)
    grey = _smooth(one.grey, rows, columns)
    rgb = np.repeat((255 * grey[..., None]).astype(np.uint8), 3, axis=2)
    if one.labels is not None:
        labels = one.labels[np.ix_(_nearest(one.labels.shape[0], rows), _nearest(one.labels.shape[1], columns))]
        for value, color in colors.items():
            rgb[_outline(labels == value)] = np.round(np.array(color) * 255).astype(np.uint8)
    return rgb


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return what of a mask is within an outline's width of its edge."""
    inner = mask
    for _ in range(OUTLINE):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _nearest(count: int, pixels: int) -> np.ndarray:
    return np.minimum(((np.arange(pixels) + 0.5) * count / pixels).astype(int), count - 1)


def _smooth(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return an image resampled linearly, first along rows and then along columns."""
    for axis, pixels in ((0, rows), (1, columns)):
        count = grey.shape[axis]
        place = np.clip((np.arange(pixels) + 0.5) * count / pixels - 0.5, 0, count - 1)
        low = place.astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in (0, 1)])
        grey = grey.take(low, axis) * (1 - share) + grey.take(np.minimum(low + 1, count - 1), axis) * share
    return grey

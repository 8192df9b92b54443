"""The one preprocessing: used by training, evaluation and the server alike.

A volume in any orientation and spacing is looked at through a `CanonicalGrid`: in RAS order, at the model's spacing.
Windows of that grid are cut out, normalised, and results are pasted back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.volumes import Grid

Floats = npt.NDArray[np.floating[Any]]
Shape = tuple[int, int, int]
Slices = tuple[slice, ...]
RAS = [[0, 1], [1, 1], [2, 1]]  # nibabel's orientation of an array that is in RAS order already
ROUNDING = 1e-4  # voxels
UPRIGHT_DEGREES = 10.0  # training turns images by up to 15 degrees; more tilt is taken out by resampling
SLAB_VOXELS = 2**22
SAME_SPACING = 0.03  # a spacing within 3 % of the model's is taken as it is: resampling would blur more than it mends


@dataclass(frozen=True)
class Preprocess:
    """Settings of the preprocessing, stored in a model's spec.

    Attributes:
        spacing: voxel size that the network sees, mm.
        window: size of the region that the network was trained on, voxels.
        clip: percentiles that intensities are clipped to.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    window: tuple[int, int, int] = (36, 52, 36)
    clip: tuple[float, float] = (0.5, 99.5)


@dataclass(frozen=True)
class Window:
    """A box of a canonical grid: first voxel and size, which may reach outside the image."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]

    @classmethod
    def around(cls, center: Sequence[float] | Floats, size: Sequence[int]) -> Window:
        """The window of `size` whose middle is nearest to the canonical index `center`."""
        start = np.round(np.asarray(center, float) - (np.asarray(size) - 1) / 2).astype(int)
        return cls(tuple(map(int, start)), tuple(map(int, size)))  # type: ignore[arg-type]


def normalise(
    array: npt.NDArray[Any], inside: npt.NDArray[np.bool_] | None = None, clip: Sequence[float] = (0.5, 99.5)
) -> npt.NDArray[np.float32]:
    """Clips to percentiles and brings to zero mean and unit deviation, measured over `inside`; 0 outside it.

    Args:
        array: intensities in any unit.
        inside: voxels that belong to the image; None means all.
        clip: lower and upper percentile.

    Returns:
        float32 of the same shape. A constant image gives zeros.
    """
    mask = np.ones(array.shape, bool) if inside is None else inside
    values = array[mask].astype(np.float64)
    out = np.zeros(array.shape, np.float32)
    if values.size == 0:
        return out
    values = values.clip(*np.percentile(values, clip))
    deviation = values.std()
    if deviation > 0:
        out[mask] = (values - values.mean()) / deviation
    return out


class CanonicalGrid:
    """A volume's grid in RAS orientation at a model's spacing.

    A scan that is nearly upright is looked at along its own axes, reordered and flipped; a tilted one along the
    patient's. "Oriented" arrays below are the volume's own voxels, reordered and flipped to the nearest RAS.

    Attributes:
        shape: voxels. affine: canonical index to RAS mm.
        field: size of the image along its own axes, in voxels of the model's spacing; `shape` if it is not tilted.
    """

    def __init__(self, grid: Grid, spacing: Sequence[float]) -> None:
        self._native_shape = tuple(grid.shape)
        self._orientation = orientations.io_orientation(grid.affine)
        order = np.argsort(self._orientation[:, 0])
        self._oriented_shape = _shape(np.array(self._native_shape)[order])
        oriented = grid.affine @ orientations.inv_ornt_aff(self._orientation, self._native_shape)
        if _tilt(oriented) > UPRIGHT_DEGREES:
            self.affine, self.shape = _upright(oriented, self._oriented_shape, np.asarray(spacing, float))
        else:
            self.affine, self.shape = _along_axes(oriented, self._oriented_shape, np.asarray(spacing, float))
        size = np.linalg.norm(oriented[:3, :3], axis=0) * self._oriented_shape
        self.field = _shape(np.round(size / np.asarray(spacing, float)))
        self._to_oriented: Floats = np.linalg.inv(oriented) @ self.affine
        self._to_canonical: Floats = np.linalg.inv(self._to_oriented)

    def index(self, point: Sequence[float] | Floats) -> Floats:
        """Canonical index, not rounded, of a point in RAS mm."""
        return (np.linalg.inv(self.affine) @ [*point, 1.0])[:3]

    def contains(self, point: Sequence[float]) -> bool:
        """Tells whether a point in RAS mm lies in the image."""
        index = (self._to_oriented @ [*self.index(point), 1.0])[:3]
        return bool(np.all(index >= -0.5) and np.all(index <= np.array(self._oriented_shape) - 0.5))

    def whole(self) -> Window:
        """The window that is the whole image."""
        return Window((0, 0, 0), self.shape)

    def inside(self, window: Window) -> npt.NDArray[np.bool_]:
        """Which voxels of a window lie in the image: (x, y, z) bool."""
        return _within(self._to_oriented, window.start, window.size, (0, 0, 0), self._oriented_shape)

    def extract(self, array: npt.NDArray[Any], window: Window) -> npt.NDArray[np.float32]:
        """Samples a native array (x, y, z) in a window, linearly, to float32 of `window.size`; 0 outside."""
        part, first = self._part(array, window)
        return self._sample(np.asarray(part, np.float32), first, window) * self.inside(window)

    def extract_label(self, array: npt.NDArray[Any], window: Window) -> npt.NDArray[np.uint8]:
        """Samples a native label map (x, y, z) in a window: linearly for each value, then the largest; 0 outside."""
        part, first = self._part(array, window)
        values = np.unique(part)
        share = np.stack([self._sample((part == v).astype(np.float32), first, window) for v in values])
        return np.where(self.inside(window), values[share.argmax(0)], 0).astype(np.uint8)

    def paste(self, maps: Floats, window: Window) -> Iterator[tuple[npt.NDArray[np.float32], Slices]]:
        """Brings maps of a window back to the volume's own voxels, linearly, a slab at a time to save memory.

        Args:
            maps: (channel, x, y, z) on the window.
            window: where they belong.

        Yields:
            Maps (channel, x, y, z) on a slab of the oriented grid, 0 outside the window, and that slab's slices.
            `to_native` turns a whole oriented array into the volume's own axes.
        """
        first, last = self._covered(window)
        step = max(1, SLAB_VOXELS // max(1, int(np.prod(last[1:] - first[1:]))))
        for start in range(int(first[0]), int(last[0]), step):
            low, high = np.array([start, *first[1:]]), np.array([min(start + step, last[0]), *last[1:]])
            offset = (self._to_canonical @ [*low, 1.0])[:3] - window.start
            size = tuple(int(n) for n in high - low)
            matrix = _matrix(self._to_canonical)
            block = np.stack([ndimage.affine_transform(m, matrix, offset, size, order=1, mode="nearest") for m in maps])
            block *= _within(self._to_canonical, low, size, window.start, window.size)
            yield block, tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

    def oriented_zeros(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An empty array on the volume's voxels in the nearest RAS order."""
        return np.zeros(self._oriented_shape, dtype)

    def to_native(self, oriented: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turns an array on the volume's voxels in the nearest RAS order into the volume's own order."""
        inverse = orientations.ornt_transform(RAS, self._orientation)
        return np.ascontiguousarray(orientations.apply_orientation(oriented, inverse))

    def _part(self, array: npt.NDArray[Any], window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.int_]]:
        """The part of a native array that a window needs, oriented, with a margin for smoothing; its first voxel."""
        oriented = orientations.apply_orientation(array, self._orientation)
        corners = _corners(self._to_oriented, window)
        margin = np.ceil(2 * self._factor()).astype(int) + 1
        first = np.clip(np.floor(corners.min(0)).astype(int) - margin, 0, np.array(oriented.shape) - 1)
        last = np.clip(np.ceil(corners.max(0)).astype(int) + margin, first + 1, oriented.shape)
        return oriented[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], first

    def _sample(
        self, part: npt.NDArray[np.float32], first: npt.NDArray[np.int_], window: Window
    ) -> npt.NDArray[np.float32]:
        offset = (self._to_oriented @ [*window.start, 1.0])[:3] - first
        smooth = _antialias(part, self._factor())
        return ndimage.affine_transform(
            smooth, _matrix(self._to_oriented), offset, window.size, order=1, mode="nearest"
        )

    def _covered(self, window: Window) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]:
        """First and one past the last oriented voxel of the box around a window."""
        corners = _corners(self._to_oriented, window)
        first = np.clip(np.ceil(corners.min(0) - ROUNDING), 0, self._oriented_shape).astype(int)
        last = np.clip(np.floor(corners.max(0) + ROUNDING) + 1, first, self._oriented_shape).astype(int)
        return first, last

    def _factor(self) -> Floats:
        """Oriented voxels for each canonical one, along each oriented axis."""
        return np.linalg.norm(self._to_oriented[:3, :3], axis=1)


def _tilt(affine: Floats) -> float:
    """Largest angle between an axis of an oriented grid and the patient's axis nearest to it, degrees."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.diag(directions).min(), -1, 1))))


def _along_axes(oriented: Floats, shape: Shape, spacing: Floats) -> tuple[Floats, Shape]:
    """Affine and shape of the grid along a volume's own axes; the outer faces of both coincide."""
    factor = spacing / np.linalg.norm(oriented[:3, :3], axis=0)
    if np.all(np.abs(factor - 1) < SAME_SPACING):
        factor = np.ones(3)
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = np.diag(factor), (factor - 1) / 2
    return oriented @ step, _shape(np.round(np.array(shape) / factor))


def _upright(oriented: Floats, shape: Shape, spacing: Floats) -> tuple[Floats, Shape]:
    """Affine and shape of the grid along the patient's axes that just holds a tilted volume."""
    corners = _corners(oriented, Window((0, 0, 0), shape))
    low, high = corners.min(0), corners.max(0)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low + spacing / 2
    return affine, _shape(np.ceil((high - low) / spacing - ROUNDING))


def _shape(size: Floats) -> Shape:
    x, y, z = (max(1, int(n)) for n in size)
    return x, y, z


def _matrix(affine: Floats) -> Floats:
    """The linear part for scipy; its diagonal alone where that is all, which scipy does many times faster."""
    linear = affine[:3, :3]
    diagonal = np.diag(linear)
    return diagonal if np.abs(linear - np.diag(diagonal)).max() < ROUNDING else linear


def _corners(affine: Floats, window: Window) -> Floats:
    """Outer corners (8, 3) of a window, mapped by an affine."""
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners = np.asarray(window.start) - 0.5 + ends * np.asarray(window.size)
    return corners @ affine[:3, :3].T + affine[:3, 3]


def _within(
    affine: Floats, start: Sequence[int] | Floats, size: Sequence[int], low: Sequence[int], extent: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Which voxels of a box (`start`, `size`) an affine maps into another box (`low`, `extent`): (x, y, z) bool."""
    axes = [np.arange(s, s + n) for s, n in zip(start, size, strict=True)]
    result = np.ones([len(axis) for axis in axes], bool)
    for row, first, length in zip(affine[:3], low, extent, strict=True):
        place = row[0] * axes[0][:, None, None] + row[1] * axes[1][None, :, None] + row[2] * axes[2] + row[3]
        result &= (place >= first - 0.5 - ROUNDING) & (place <= first + length - 0.5 + ROUNDING)
    return result


def _antialias(array: npt.NDArray[np.float32], factor: Floats) -> npt.NDArray[np.float32]:
    """Smooths along axes that will be sampled more coarsely; sigma (factor - 1) / 2 voxels, as in scikit-image."""
    sigma = np.maximum(0, (factor - 1) / 2)
    return ndimage.gaussian_filter(array, sigma) if sigma.max() > SAME_SPACING else array

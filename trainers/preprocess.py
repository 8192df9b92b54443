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
from trainers.resampling import interpolated, smoothed

Floats = npt.NDArray[np.floating[Any]]
Shape = tuple[int, int, int]
Slices = tuple[slice, ...]
RAS = [[0, 1], [1, 1], [2, 1]]  # nibabel's orientation of an array that is in RAS order already
ROUNDING = 1e-4  # voxels
UPRIGHT_DEGREES = 10.0  # training turns images by up to 15 degrees; more tilt is taken out by resampling
SLAB_VOXELS = 2**19  # what fits in a processor's cache
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
        return self._sample(part, first, window) * self.inside(window)

    def extract_label(self, array: npt.NDArray[Any], window: Window) -> npt.NDArray[np.uint8]:
        """Samples a native label map (x, y, z) in a window: linearly for each value, then the largest; 0 outside."""
        part, first = self._part(array, window)
        values = np.unique(part)
        share = np.stack([self._sample((part == v).astype(np.float32), first, window) for v in values])
        return np.where(self.inside(window), values[share.argmax(0)], 0).astype(np.uint8)

    def paste(self, maps: Floats, window: Window, within: Slices | None = None) -> Iterator[tuple[Floats, Slices]]:
        """Samples maps of a window on the volume's own voxels, linearly, slab by slab.

        Args:
            maps: (class, *window.size).
            window: where they are.
            within: the part of the maps that is wanted; None is all of it.

        Yields:
            Values (class, x, y, z) of a slab, 0 outside the window, and where the slab lies in an oriented array.
        """
        first, last = self._covered(window, within)
        axis = int(self._orientation[2, 0])  # slabs of it are pieces of memory
        step = max(1, SLAB_VOXELS // max(1, int(np.prod(np.delete(last - first, axis)))))
        for start in range(int(first[axis]), int(last[axis]), step):
            low, high = first.copy(), last.copy()
            low[axis], high[axis] = start, min(start + step, last[axis])
            block = self._resampled(maps, window, low, _shape(high - low))
            yield block, tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

    def _resampled(self, maps: Floats, window: Window, low: npt.NDArray[np.int_], size: Shape) -> Floats:
        """Maps of a window on the oriented voxels of a box: (class, *size)."""
        offset = (self._to_canonical @ [*low, 1.0])[:3] - window.start
        matrix = _matrix(self._to_canonical)
        if matrix.ndim == 1:
            return interpolated(maps, matrix, offset, size)
        block = np.stack([ndimage.affine_transform(m, matrix, offset, size, order=1, mode="nearest") for m in maps])
        block *= _within(self._to_canonical, low.tolist(), size, window.start, window.size)
        return block

    def oriented_zeros(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An empty array on the volume's voxels in the nearest RAS order; `to_native` of it is as files have it."""
        native = np.zeros(self._native_shape, dtype, order="F")
        return np.asarray(orientations.apply_orientation(native, self._orientation))

    def to_native(self, oriented: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turns an array on the volume's voxels in the nearest RAS order into the volume's own order."""
        inverse = orientations.ornt_transform(RAS, self._orientation)
        return np.asarray(orientations.apply_orientation(oriented, inverse))

    def _part(self, array: npt.NDArray[Any], window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.int_]]:
        """The part of a native array that a window needs, oriented, with a margin for smoothing; its first voxel."""
        oriented = orientations.apply_orientation(array, self._orientation)
        corners = _corners(self._to_oriented, window)
        margin = np.ceil(2 * self._factor()).astype(int) + 1
        first = np.clip(np.floor(corners.min(0)).astype(int) - margin, 0, np.array(oriented.shape) - 1)
        last = np.clip(np.ceil(corners.max(0)).astype(int) + margin, first + 1, oriented.shape)
        return oriented[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], first

    def _sample(self, part: npt.NDArray[Any], first: npt.NDArray[np.int_], window: Window) -> npt.NDArray[np.float32]:
        offset = (self._to_oriented @ [*window.start, 1.0])[:3] - first
        matrix = _matrix(self._to_oriented)
        if matrix.ndim == 1:
            return smoothed(part, matrix, offset, window.size, _sigma(self._factor()))
        smooth = _antialias(np.asarray(part, np.float32), self._factor())
        return ndimage.affine_transform(smooth, matrix, offset, window.size, order=1, mode="nearest")

    def _covered(self, window: Window, within: Slices | None) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]:
        """First and one past the last oriented voxel of the box around a part of a window."""
        if within is not None:
            start = [s + part.start for s, part in zip(window.start, within, strict=True)]
            window = Window(_index(start), _index([part.stop - part.start for part in within]))
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


def _index(values: Sequence[int]) -> Shape:
    x, y, z = map(int, values)
    return x, y, z


def _shape(size: npt.NDArray[Any]) -> Shape:
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
    matrix = _matrix(affine)
    if matrix.ndim == 1:
        told = zip(axes, matrix, affine[:3, 3], low, extent, strict=True)
        x, y, z = (_held(step * axis + offset, first, length) for axis, step, offset, first, length in told)
        return np.asarray(x[:, None, None] & y[:, None] & z)
    result = np.ones([len(axis) for axis in axes], bool)
    for row, first, length in zip(affine[:3], low, extent, strict=True):
        place = row[0] * axes[0][:, None, None] + row[1] * axes[1][None, :, None] + row[2] * axes[2] + row[3]
        result &= _held(place, first, length)
    return result


def _held(place: Floats, first: int, length: int) -> npt.NDArray[np.bool_]:
    """Which places along an axis lie in its voxels."""
    return (place >= first - 0.5 - ROUNDING) & (place <= first + length - 0.5 + ROUNDING)


def _antialias(array: npt.NDArray[np.float32], factor: Floats) -> npt.NDArray[np.float32]:
    """Smooths along axes that will be sampled more coarsely."""
    sigma = _sigma(factor)
    return ndimage.gaussian_filter(array, sigma) if sigma.any() else array


def _sigma(factor: Floats) -> Floats:
    """Of the smoothing before coarser sampling: (factor - 1) / 2 voxels, as in scikit-image; 0 for the same spacing."""
    sigma = np.maximum(0, (factor - 1) / 2)
    return sigma if sigma.max() > SAME_SPACING else np.zeros_like(sigma)

"""The one preprocessing: used by training, evaluation and the server alike.

A volume in any orientation and spacing is looked at through a `CanonicalGrid`: its own axes, reordered and flipped to
the nearest RAS, at the model's spacing. Windows of that grid are cut out, normalised, and results are pasted back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.volumes import Grid

Floats = npt.NDArray[np.floating[Any]]
RAS = [[0, 1], [1, 1], [2, 1]]  # nibabel's orientation of an array that is in RAS order already
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
    """A volume's grid in the nearest RAS orientation at a model's spacing.

    Attributes:
        shape: voxels. affine: canonical index to RAS mm.
    """

    def __init__(self, grid: Grid, spacing: Sequence[float]) -> None:
        self._native_shape = tuple(grid.shape)
        self._orientation = orientations.io_orientation(grid.affine)
        self._oriented_shape = tuple(
            int(self._native_shape[int(np.flatnonzero(self._orientation[:, 0] == axis)[0])]) for axis in range(3)
        )
        oriented = grid.affine @ orientations.inv_ornt_aff(self._orientation, self._native_shape)
        factor = np.asarray(spacing, float) / np.linalg.norm(oriented[:3, :3], axis=0)
        self._factor = np.ones(3) if np.all(np.abs(factor - 1) < SAME_SPACING) else factor
        self._shift = (self._factor - 1) / 2  # the outer faces of both grids coincide
        self.shape = tuple(int(n) for n in np.maximum(1, np.round(self._oriented_shape / self._factor)))
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = np.diag(self._factor), self._shift
        self.affine: npt.NDArray[np.float64] = oriented @ step

    def index(self, point: Sequence[float]) -> Floats:
        """Canonical index, not rounded, of a point in RAS mm."""
        return (np.linalg.inv(self.affine) @ [*point, 1.0])[:3]

    def contains(self, point: Sequence[float]) -> bool:
        """Tells whether a point in RAS mm lies in the image."""
        index = self.index(point)
        return bool(np.all(index >= -0.5) and np.all(index <= np.array(self.shape) - 0.5))

    def whole(self) -> Window:
        """The window that is the whole image."""
        return Window((0, 0, 0), self.shape)  # type: ignore[arg-type]

    def inside(self, window: Window) -> npt.NDArray[np.bool_]:
        """Which voxels of a window lie in the image: (x, y, z) bool."""
        axes = [
            (np.arange(s, s + n) >= 0) & (np.arange(s, s + n) < limit)
            for s, n, limit in zip(window.start, window.size, self.shape, strict=True)
        ]
        return axes[0][:, None, None] & axes[1][None, :, None] & axes[2][None, None, :]

    def extract(self, array: npt.NDArray[Any], window: Window) -> npt.NDArray[np.float32]:
        """Samples a native array (x, y, z) in a window, linearly, to float32 of `window.size`; 0 outside."""
        oriented = orientations.apply_orientation(array, self._orientation)
        source, first = self._source(oriented, window)
        offset = np.asarray(window.start) * self._factor + self._shift - first
        out = ndimage.affine_transform(
            _antialias(source, self._factor), self._factor, offset, window.size, order=1, mode="nearest"
        )
        return out * self.inside(window)

    def extract_label(self, array: npt.NDArray[Any], window: Window) -> npt.NDArray[np.uint8]:
        """Samples a native label map (x, y, z) in a window: linearly for each value, then the largest; 0 outside."""
        values = np.unique(array)
        share = np.stack([self.extract((array == v).astype(np.float32), window) for v in values])
        return np.where(self.inside(window), values[share.argmax(0)], 0).astype(np.uint8)

    def paste(self, maps: Floats, window: Window) -> tuple[npt.NDArray[np.float32], tuple[slice, slice, slice]]:
        """Brings maps of a window back to the volume's own voxels, linearly.

        Args:
            maps: (channel, x, y, z) on the window.
            window: where they belong.

        Returns:
            The maps (channel, x, y, z) on the oriented grid's block that the window covers, and that block's slices.
            `to_native` turns a whole oriented array into the volume's own axes.
        """
        low = np.asarray(window.start) * self._factor + self._shift - self._factor / 2
        high = low + np.asarray(window.size) * self._factor
        first = np.clip(np.ceil(low), 0, self._oriented_shape).astype(int)
        last = np.clip(np.floor(high) + 1, first, self._oriented_shape).astype(int)
        offset = (first - self._shift) / self._factor - window.start
        shape = tuple(int(n) for n in last - first)
        block = np.stack(
            [ndimage.affine_transform(m, 1 / self._factor, offset, shape, order=1, mode="nearest") for m in maps]
        )
        slices = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return block, slices  # type: ignore[return-value]

    def oriented_zeros(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An empty array on the volume's voxels in the nearest RAS order."""
        return np.zeros(self._oriented_shape, dtype)

    def to_native(self, oriented: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turns an array on the volume's voxels in the nearest RAS order into the volume's own order."""
        inverse = orientations.ornt_transform(RAS, self._orientation)
        return np.ascontiguousarray(orientations.apply_orientation(oriented, inverse))

    def _source(
        self, oriented: npt.NDArray[Any], window: Window
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int_]]:
        """The part of an oriented array that a window needs, with a margin for smoothing, and its first voxel."""
        margin = np.ceil(2 * self._factor).astype(int) + 1
        low = np.floor(np.asarray(window.start) * self._factor + self._shift).astype(int) - margin
        high = np.ceil((np.asarray(window.start) + window.size) * self._factor + self._shift).astype(int) + margin
        first = np.clip(low, 0, np.array(oriented.shape) - 1)
        last = np.clip(high, first + 1, oriented.shape)
        part = oriented[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
        return np.asarray(part, np.float32), first


def _antialias(array: npt.NDArray[np.float32], factor: Floats) -> npt.NDArray[np.float32]:
    """Smooths along axes that will be sampled more coarsely; sigma (factor - 1) / 2 voxels, as in scikit-image."""
    sigma = np.maximum(0, (factor - 1) / 2)
    return ndimage.gaussian_filter(array, sigma) if sigma.max() > SAME_SPACING else array

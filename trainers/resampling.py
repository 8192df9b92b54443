"""Sampling on a grid with the same axes, one axis after the other: the sums of scipy.ndimage with far fewer terms.

Along an axis, smoothing and linear interpolation are one sparse matrix. Voxels that are not sampled are never smoothed,
and a volume is read slice by slice, in its own number type, so that no copy of it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.floating[Any]]
TRUNCATE = 4  # standard deviations of a Gaussian, as scipy.ndimage has it
ROUNDING = 1e-4  # voxels


def smoothed(
    array: npt.NDArray[Any],
    step: Sequence[float] | Floats,
    offset: Sequence[float] | Floats,
    size: Sequence[int],
    sigma: Sequence[float] | Floats,
) -> npt.NDArray[np.float32]:
    """`affine_transform(gaussian_filter(array, sigma), step, offset, size, order=1, mode="nearest")`.

    Args:
        array: (x, y, z), any number type and order in memory.
        step: voxels between samples along each axis.
        offset: index of the first sample.
        size: of the result.
        sigma: along each axis, voxels; 0 does not smooth.

    Returns:
        float32 of `size`.
    """
    terms = [_terms(*told) for told in zip(array.shape, step, offset, size, sigma, strict=True)]
    fast, middle, slow = np.argsort(np.abs(array.strides), kind="stable")  # axes, as they lie in memory
    partly = np.empty([array.shape[a] if a == slow else size[a] for a in range(3)], np.float32)
    for number in range(array.shape[slow]):
        one: list[slice] = [slice(None)] * 3
        one[slow] = slice(number, number + 1)
        part = np.asarray(array[tuple(one)], np.float32)
        partly[tuple(one)] = _along(terms[fast], _along(terms[middle], part, middle), fast)
    return _along(terms[slow], partly, slow)


def interpolated(
    maps: Floats, step: Sequence[float] | Floats, offset: Sequence[float] | Floats, size: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Maps (class, x, y, z) sampled linearly at `offset + step * place`; 0 more than half a voxel outside of them.

    Returns:
        float32, (class, *size).
    """
    result = np.asarray(maps, np.float32)
    order = sorted(range(3), key=lambda axis: size[axis] / maps.shape[axis + 1])
    for axis in order:
        number = maps.shape[axis + 1]
        place = offset[axis] + step[axis] * np.arange(size[axis])
        inside = (place >= -0.5 - ROUNDING) & (place <= number - 0.5 + ROUNDING)
        low, share = _between(place, number)
        shape = [-1 if a == axis + 1 else 1 for a in range(4)]
        below, above = (np.take(result, index, axis + 1) for index in (low, np.minimum(low + 1, number - 1)))
        above -= below
        above *= share.astype(np.float32).reshape(shape)
        above += below
        above *= inside.reshape(shape)
        result = above
    return result


def _between(place: Floats, number: int) -> tuple[npt.NDArray[np.int_], Floats]:
    """The voxel below each place on an axis, and how far towards the next one it lies; ends go on for ever."""
    held = place.clip(0, number - 1)
    low = np.minimum(held.astype(int), max(0, number - 2))
    return low, held - low


def _terms(number: int, step: float, offset: float, size: int, sigma: float) -> sparse.csr_matrix:
    """What each sample is made of along one axis: (size, number), the voxels near it alone."""
    low, share = _between(offset + step * np.arange(size), number)
    reach = int(TRUNCATE * sigma + 0.5)
    taps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 / sigma**2 * taps**2) if reach else np.ones(1)
    kernel /= kernel.sum()
    rows, columns, values = [], [], []
    for step_up, weight in ((0, 1 - share), (1, share)):
        place = np.minimum(low + step_up, number - 1)[:, None] + taps
        rows.append(np.repeat(np.arange(size), len(taps)))
        columns.append(_reflected(place, number).ravel())
        values.append((weight[:, None] * kernel).ravel())
    entries = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix((np.concatenate(values).astype(np.float32), entries), (size, number))


def _reflected(place: npt.NDArray[np.int_], number: int) -> npt.NDArray[np.int_]:
    """Indices beyond the ends, mirrored about the outer edge as scipy.ndimage's `reflect` does."""
    turned = np.mod(place, 2 * number)
    return np.where(turned < number, turned, 2 * number - 1 - turned)


def _along(terms: sparse.csr_matrix, array: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """A matrix applied along an axis."""
    moved = np.moveaxis(array, axis, 0)
    flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    made = (terms @ flat).reshape(terms.shape[0], *moved.shape[1:])
    return np.moveaxis(made, 0, axis)

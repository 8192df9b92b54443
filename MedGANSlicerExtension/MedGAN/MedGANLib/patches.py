"""The part of a label map that is labelled: small where the organ is small, however large the image. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np


@dataclass(frozen=True)
class Patch:
    """Voxels (k, j, i) of a label map about all that is labelled, and the index (k, j, i) of the first of them."""

    array: np.ndarray
    first: Tuple[int, ...]

    @classmethod
    def cut(cls, whole: np.ndarray) -> Patch:
        """Cut what is labelled out of a label map (k, j, i); one voxel when nothing is."""
        array, first = crop(whole)
        return cls(array, tuple(first))

    def whole(self, shape: Sequence[int]) -> np.ndarray:
        """Return the label map of a shape (k, j, i) again."""
        whole = np.zeros(tuple(shape), self.array.dtype)
        whole[tuple(slice(self.first[axis], self.first[axis] + self.array.shape[axis]) for axis in range(3))] = (
            self.array
        )
        return whole

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether it lies within a shape (k, j, i)."""
        return all(self.first[axis] + self.array.shape[axis] <= shape[axis] for axis in range(3))

    def matrix(self, grid: np.ndarray) -> np.ndarray:
        """Return its matrix from voxel indices (i, j, k) to RAS, given that of the whole."""
        shift = np.eye(4)
        shift[:3, 3] = self.first[::-1]
        return grid @ shift


def crop(array: np.ndarray) -> Tuple[np.ndarray, List[int]]:
    """Return the part of an array that is not zero (one voxel when all of it is) and its first index."""
    if not array.any():
        return array[:1, :1, :1], [0, 0, 0]
    low, high = _bounds(array != 0)
    return array[tuple(slice(low[axis], high[axis] + 1) for axis in range(3))], low


def _bounds(mask: np.ndarray) -> Tuple[List[int], List[int]]:
    """Return the first and the last index with anything inside, along each axis."""
    used = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return [int(u[0]) for u in used], [int(u[-1]) for u in used]

"""Which voxels of a mask hang together. numpy only: union-find over the runs of voxels along the mask's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

NEXT_ROWS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Steps along (k, j) to the rows that touch a row and come after it, over faces, edges or corners."""


@dataclass(frozen=True)
class Components:
    """The runs of a mask in the order of its voxels, and to which of its connected parts each belongs.

    Attributes:
        first: Place of each run's first voxel in the flattened mask.
        length: Its number of voxels.
        part: Number of its part, from 0 on.
        count: Number of parts.
    """

    first: np.ndarray
    length: np.ndarray
    part: np.ndarray
    count: int


def components(mask: np.ndarray) -> Components:
    """Return the connected parts of a mask (k, j, i); voxels that share a face, an edge or a corner hang together."""
    first, end, width = _runs(mask)
    pairs = [_touching(first, end, mask.shape[1], width, step) for step in NEXT_ROWS]
    one, other = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    parents = _joined(np.arange(len(first)), one, other)
    roots = parents == np.arange(len(first))
    return Components(first - first // width, end - first, (np.cumsum(roots) - 1)[parents], int(roots.sum()))


def count_runs(mask: np.ndarray) -> int:
    """Return how many runs a mask has: the work of finding its parts grows with them."""
    return int(np.count_nonzero(mask[..., 1:] > mask[..., :-1]) + np.count_nonzero(mask[..., :1]))


def _runs(mask: np.ndarray) -> Tuple[np.ndarray, np.ndarray, int]:
    """Return first and end of each run in the flattened mask whose rows have one empty voxel more, and their width."""
    width = mask.shape[2] + 1
    padded = np.zeros((*mask.shape[:2], width), np.int8)
    padded[..., :-1] = mask
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), width


def _touching(
    first: np.ndarray, end: np.ndarray, rows: int, width: int, step: Tuple[int, int]
) -> Tuple[np.ndarray, np.ndarray]:
    """Return pairs of runs of which the second touches the first and lies a step (k, j) further."""
    along_k, along_j = step
    row = first // width % rows + along_j
    inside = np.flatnonzero((row >= 0) & (row < rows))
    shift = (along_k * rows + along_j) * width
    low = np.searchsorted(end, first[inside] + shift, side="left")
    high = np.searchsorted(first, end[inside] + shift, side="right")
    number = np.maximum(high - low, 0)
    offset = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    return np.repeat(inside, number), np.repeat(low, number) + offset


def _joined(parents: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return for each run the first run of its part: roots are hung below smaller ones until all pairs agree."""
    while True:
        a, b = parents[one], parents[other]
        apart = a != b
        if not apart.any():
            return parents
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        parents[np.maximum(a, b)] = np.minimum(a, b)
        parents = _flat(parents)


def _flat(parents: np.ndarray) -> np.ndarray:
    """Return each run's root in place of its parent."""
    while True:
        above = parents[parents]
        if np.array_equal(above, parents):
            return parents
        parents = above

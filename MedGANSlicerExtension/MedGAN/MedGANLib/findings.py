"""The findings in a heat map: connected spots above a threshold, with size, peak and place. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from .components import Components, components, count_runs

LISTED = 50
"""Findings that are described at most, the hottest and the largest ones."""
MAX_RUNS = 300_000
"""Rows of voxels above which spots are not told apart: that would take seconds, and nobody could look at them."""
ML, MM2 = "ml", "mm²"
Place = Tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """One spot: its rank by peak (from 1 on), voxels, size (ml, or mm² in a single slice), peak, and hottest voxel.

    The place is in RAS millimetres.
    """

    number: int
    voxels: int
    size: float
    peak: float
    place: Place


@dataclass(frozen=True)
class Findings:
    """The spots of one heat map above one threshold.

    Attributes:
        threshold: The heat from which on a voxel belongs to a spot.
        count: How many spots there are.
        hottest: Those with the highest peaks, the highest first.
        largest: Those with the most voxels, the largest first.
        units: Of their sizes.
        crowded: Whether so much is that hot that its spots were not told apart.
    """

    threshold: float
    count: int = 0
    hottest: Tuple[Finding, ...] = ()
    largest: Tuple[Finding, ...] = ()
    units: str = ML
    crowded: bool = False


@dataclass(frozen=True)
class Box:
    """Where a mask has voxels: the smallest box around them, and its place in the whole; empty when there are none."""

    mask: np.ndarray
    place: Tuple[slice, ...]

    def matrix(self, whole: np.ndarray) -> np.ndarray:
        """Return the 4x4 matrix from the box's voxel indices (i, j, k), given that of the whole."""
        shift = np.eye(4)
        shift[:3, 3] = [part.start for part in self.place[::-1]]
        return whole @ shift


def hot(heat: np.ndarray, threshold: float) -> Box:
    """Return where a heat map (k, j, i) reaches a threshold."""
    mask = heat >= threshold
    used = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    place = tuple(slice(int(u[0]), int(u[-1]) + 1) if u.size else slice(0, 0) for u in used)
    return Box(mask[place], place)


def find(heat: np.ndarray, threshold: float, matrix: np.ndarray) -> Findings:
    """Return the findings of a heat map.

    Args:
        heat: Voxels (k, j, i).
        threshold: The heat from which on a voxel belongs to a finding.
        matrix: 4x4, from voxel indices (i, j, k) to RAS millimetres.
    """
    box = hot(heat, threshold)
    units = MM2 if 1 in heat.shape else ML
    if not box.mask.size or count_runs(box.mask) > MAX_RUNS:
        return Findings(threshold, units=units, crowded=bool(box.mask.size))
    spots = components(box.mask)
    peaks, hottest = _peaks(heat[box.place][box.mask], spots)
    voxels = np.bincount(spots.part, weights=spots.length).astype(int)
    by_peak, by_size = np.lexsort((-voxels, -peaks)), np.lexsort((-peaks, -voxels))
    rank = np.argsort(by_peak)
    edge = _voxel_size(matrix, heat.shape)

    def finding(part: int) -> Finding:
        index = np.unravel_index(hottest[part], box.mask.shape)[::-1]
        place = (box.matrix(matrix) @ [*index, 1.0])[:3]
        where = (float(place[0]), float(place[1]), float(place[2]))
        return Finding(int(rank[part]) + 1, int(voxels[part]), float(voxels[part] * edge), float(peaks[part]), where)

    listed = [tuple(finding(part) for part in order[:LISTED]) for order in (by_peak, by_size)]
    return Findings(threshold, spots.count, listed[0], listed[1], units)


def _peaks(values: np.ndarray, spots: Components) -> Tuple[np.ndarray, np.ndarray]:
    """Return the largest heat of each spot, and the place of the first voxel that has it, in the flattened box."""
    begin = np.cumsum(spots.length) - spots.length
    of_run = np.maximum.reduceat(values, begin)
    run = np.lexsort((np.arange(len(begin)), -of_run, spots.part))
    run = run[np.unique(spots.part[run], return_index=True)[1]]  # of each spot the first run that reaches its peak
    inside = [int(values[begin[r] : begin[r] + spots.length[r]].argmax()) for r in run]
    return of_run[run], spots.first[run] + np.array(inside)


def _voxel_size(matrix: np.ndarray, shape: Tuple[int, ...]) -> float:
    """Return the volume of a voxel in ml; in a single slice its area in mm²."""
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    if 1 in shape:
        across = shape[::-1].index(1)
        return float(np.prod(np.delete(edges, across)))
    return float(abs(np.linalg.det(matrix[:3, :3])) / 1000)

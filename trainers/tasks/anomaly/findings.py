"""Findings: connected places of a heat map above a threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from trainers.data.volumes import Volume
from trainers.tasks.anomaly.calibration import Calibration

MOST = 200


@dataclass(frozen=True)
class Finding:
    """One of them.

    Attributes:
        voxels: how many. volume_ml: of all together. peak: largest heat.
        one_in: N of "1 of N healthy patients has a spot as hot".
        place: RAS mm of the hottest voxel.
    """

    voxels: int
    volume_ml: float
    peak: float
    one_in: int
    place: tuple[float, float, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {**asdict(self), "place": list(self.place)}


def find(heat: Volume, threshold: float, peaks: Calibration) -> list[Finding]:
    """Findings of a map, the hottest first, at most `MOST`; voxels that share a corner are connected.

    Args:
        heat: the map.
        threshold: heat of a finding, or more.
        peaks: largest heat of healthy patients.
    """
    labels, number = ndimage.label(heat.array >= threshold, np.ones((3,) * 3))
    if not number:
        return []
    index = np.arange(1, number + 1)
    sizes = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    places = ndimage.maximum_position(heat.array, labels, index)
    ml = abs(float(np.linalg.det(heat.affine[:3, :3]))) / 1000
    found = [_finding(heat, int(n), ml, place, peaks) for n, place in zip(sizes, places, strict=True)]
    return sorted(found, key=lambda f: (-f.peak, -f.voxels))[:MOST]


def _finding(heat: Volume, voxels: int, ml: float, place: tuple[int, ...], peaks: Calibration) -> Finding:
    x, y, z = (heat.affine @ [*place, 1.0])[:3]
    peak = float(heat.array[tuple(place)])
    where = (round(float(x), 2), round(float(y), 2), round(float(z), 2))
    return Finding(voxels, float(f"{voxels * ml:.4g}"), round(peak, 4), int(peaks.rarity(peak)), where)

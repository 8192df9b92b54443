"""How far a correction reaches: as far as the error that it lies in the middle of.

A network hears a click as a matter of its surroundings and gives way by a voxel or two. But a clinician points at the
middle of what is wrong, so the distance from there to where the clicked label already is tells how deep the error is:
a rim of one voxel, or half an organ. The clicked label is raised within a ball of about that radius, softly, as a
prior that the network's own logits are added to. The values were chosen on patients that the network learned from or
was watched on, as they are and spoiled (`harden`), among some thirty; around them little changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit

from trainers.tasks.segmentation.clicks import Mark, Voxels

Floats = npt.NDArray[np.float32]
Depths = npt.NDArray[np.float64]

REACH = 1.4  # radius of the ball, in depths of the error
EDGE = 0.5  # softness of its edge, in depths: a shallow error ends sharply
PULL, MOST = 3.0, 8.0  # what is added to the clicked label's logit, for each voxel of depth, and at most
DEEPEST = 5.0  # voxels: an error is not taken to be deeper; also where the label is nowhere yet


def reach(logits: Floats, alone: Floats, marks: Sequence[Mark]) -> Floats:
    """Logits that agree with corrections, each of which follows on those before it.

    Args:
        logits: of the network that sees the marks (class, x, y, z).
        alone: of the network without any, which the first correction was made to.
        marks: the corrections, in the order in which they were made.

    Returns:
        (class, x, y, z); the arguments stay as they are.
    """
    told, shown = logits.copy(), alone.copy()
    for index, voxels in marks:
        depth = _depth(shown, index, voxels)
        box = _around(voxels, shown.shape[1:], depth.max() * (REACH + 6 * EDGE))
        pull = _pull(voxels - [part.start for part in box], depth, [part.stop - part.start for part in box])
        for maps in (told, shown):
            maps[index][box] += pull
    return told


def _depth(shown: Floats, index: int, voxels: Voxels) -> Depths:
    """How far each marked voxel is from where its label already is, 0 to `DEEPEST`."""
    box = _around(voxels, shown.shape[1:], DEEPEST)
    right = shown[(slice(None), *box)].argmax(0) == index
    if not right.any():
        return np.full(len(voxels), DEEPEST)
    local = voxels - [part.start for part in box]
    return np.minimum(ndimage.distance_transform_edt(~right)[tuple(local.T)], DEEPEST)


def _pull(voxels: Voxels, depth: Depths, shape: Sequence[int]) -> Floats:
    """What is added to a label's logit around a mark: (x, y, z)."""
    pull = np.zeros(shape, np.float32)
    for deep in np.unique(depth[depth > 0]):
        free = np.ones(shape, bool)
        free[tuple(voxels[depth == deep].T)] = False
        inside = expit((REACH * deep - ndimage.distance_transform_edt(free)) / (EDGE * deep))
        pull = np.maximum(pull, min(PULL * deep, MOST) * inside)
    return pull


def _around(voxels: Voxels, shape: Sequence[int], margin: float) -> tuple[slice, ...]:
    """The box around a mark."""
    low, high = voxels.min(0) - math.ceil(margin), voxels.max(0) + math.ceil(margin) + 1
    return tuple(slice(max(0, int(a)), min(n, int(b))) for a, b, n in zip(low, high, shape, strict=True))

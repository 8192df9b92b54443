"""How far a correction reaches: as far as the error that it lies in the middle of.

A network hears a click as a matter of its surroundings and gives way by a voxel or two. But a clinician points at the
middle of what is wrong, so the distance from there to where the clicked label already is tells how deep the error is,
if it borders on that label: a rim of one voxel, or half an organ. The clicked label is raised within a ball of about
that radius, as a prior that the network's own logits are added to. A rim is left to the network and to `steering`.
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

RADIUS = 1.4  # of the ball, in depths of the error
EDGE = 0.3  # softness of its edge, in depths
PULL = 0.375  # what a label is raised by for each voxel of depth after the first, in leads that a class usually has
DEEPEST = 4.0  # voxels: an error is not taken to be deeper; also where the label is nowhere yet


def reach(logits: Floats, alone: Floats, marks: Sequence[Mark]) -> Floats:
    """Logits that agree with corrections, each of which follows on those before it.

    Corrections of one label beside each other do not add up.

    Args:
        logits: of the network that sees the marks (class, x, y, z).
        alone: of the network without any: where each label is before the first correction.
        marks: the corrections, in the order in which they were made.

    Returns:
        (class, x, y, z); the arguments stay as they are.
    """
    pulls, lead = np.zeros_like(logits), _usual_lead(alone)
    for index, voxels in marks:
        box = _around(voxels, alone.shape[1:], DEEPEST)
        shown = (alone[(slice(None), *box)] + pulls[(slice(None), *box)]).argmax(0)
        depth = _depth(shown == index, voxels - [part.start for part in box])
        box = _around(voxels, alone.shape[1:], depth.max() * (RADIUS + 6 * EDGE))
        pull = _pull(voxels - [part.start for part in box], depth, [part.stop - part.start for part in box])
        pulls[index][box] = np.maximum(pulls[index][box], lead * pull)
    return logits + pulls


def _usual_lead(logits: Floats) -> float:
    """How far the likeliest class is ahead of the next, in the median voxel."""
    ordered = np.partition(logits, -2, axis=0)
    return float(np.median(ordered[-1] - ordered[-2]))


def _depth(right: npt.NDArray[np.bool_], voxels: Voxels) -> Depths:
    """How far each marked voxel is from where its label already is, 0 to `DEEPEST`."""
    if not right.any():
        return np.full(len(voxels), DEEPEST)
    return np.minimum(ndimage.distance_transform_edt(~right)[tuple(voxels.T)], DEEPEST)


def _pull(voxels: Voxels, depth: Depths, shape: Sequence[int]) -> Floats:
    """By how much a label is raised around a mark, in leads: (x, y, z)."""
    pull = np.zeros(shape, np.float32)
    for deep in np.unique(depth[depth > 1]):
        free = np.ones(shape, bool)
        free[tuple(voxels[depth == deep].T)] = False
        inside = expit((RADIUS * deep - ndimage.distance_transform_edt(free)) / (EDGE * deep))
        pull = np.maximum(pull, PULL * (deep - 1) * inside)
    return pull


def _around(voxels: Voxels, shape: Sequence[int], margin: float) -> tuple[slice, ...]:
    """The box around a mark."""
    low, high = voxels.min(0) - math.ceil(margin), voxels.max(0) + math.ceil(margin) + 1
    return tuple(slice(max(0, int(a)), min(n, int(b))) for a, b, n in zip(low, high, shape, strict=True))

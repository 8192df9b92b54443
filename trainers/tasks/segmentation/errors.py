"""A simulated clinician: where a segmentation is wrong, and the click or scribble that says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Classes = npt.NDArray[np.integer]
Voxels = npt.NDArray[np.int_]
EVERYWHERE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Correction:
    """What a clinician would mark: voxels (n, 3) and the class that is right there."""

    index: int
    voxels: Voxels


def correct(
    found: Classes, truth: Classes, random: np.random.Generator | None = None, scribble: float = 0.0
) -> Correction | None:
    """Marks the largest error: a connected region of one true class that was taken for something else.

    The mark lies well inside it, where the distance to its edge is greatest; by chance also elsewhere within it, with
    the square of that distance as its weight, for clinicians do not aim exactly.

    Args:
        found: class indices (x, y, z) of a segmentation.
        truth: those that are right.
        random: of the choice; None takes the largest error and the innermost voxel.
        scribble: share of marks that are a line across the error.

    Returns:
        None if nothing is wrong.
    """
    region, index = _largest_error(found, truth, random)
    if region is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1, 1:-1]
    place = _choose(depth, random)
    if random is not None and random.random() < scribble:
        return Correction(index, _stroke(region, place, int(random.integers(3))))
    return Correction(index, place[None])


def _largest_error(
    found: Classes, truth: Classes, random: np.random.Generator | None
) -> tuple[npt.NDArray[np.bool_] | None, int]:
    """A region and its true class; with `random` any region, by size, for the largest is not always seen first."""
    pieces, sizes = [], []
    for index in np.unique(truth[found != truth]):
        wrong, count = ndimage.label((found != truth) & (truth == index), EVERYWHERE)
        pieces += [(wrong, number, int(index)) for number in range(1, count + 1)]
        sizes += list(np.bincount(wrong.ravel(), minlength=count + 1)[1:])
    if not pieces:
        return None, 0
    size = np.array(sizes, float)
    chosen = int(size.argmax()) if random is None else int(random.choice(len(size), p=size**1.5 / (size**1.5).sum()))
    wrong, number, index = pieces[chosen]
    return wrong == number, index


def _choose(depth: npt.NDArray[np.float64], random: np.random.Generator | None) -> Voxels:
    if random is None:
        return np.array(np.unravel_index(depth.argmax(), depth.shape))
    weight = depth.ravel() ** 2
    return np.array(np.unravel_index(random.choice(weight.size, p=weight / weight.sum()), depth.shape))


def _stroke(region: npt.NDArray[np.bool_], place: Voxels, axis: int) -> Voxels:
    """A straight line, in the plane through a place across `axis`, to the end of the region that is farthest away."""
    near = np.argwhere(region)
    near = near[near[:, axis] == place[axis]]
    end = near[np.linalg.norm(near - place, axis=1).argmax()]
    steps = int(np.abs(end - place).max()) + 1
    line = np.unique(np.rint(np.linspace(place, end, steps)).astype(int), axis=0)
    return line[region[tuple(line.T)]]

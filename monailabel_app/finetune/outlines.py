"""Synthetic studies that fill the outline of a patient who is measured on: to learn from them would be cheating."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from trainers.data.cases import Case
from trainers.data.volumes import Volume, read_label

SAME = 0.85  # Dice where they lie; outlines of two patients, even in one atlas' space, overlap less


def split_copies(synthetic: Sequence[Case], measured: Iterable[Case]) -> tuple[list[Case], list[tuple[Case, Case]]]:
    """Parts synthetic studies into those with outlines of their own and those with one that is measured on.

    Args:
        synthetic: studies with labels.
        measured: those that their labels are compared with, in RAS mm.

    Returns:
        The first kind, and each of the second with the study whose outline it has.
    """
    if not synthetic:
        return [], []
    known = [(case, read_label(case.label)) for case in measured]
    own, copies = [], []
    for made in synthetic:
        label = read_label(made.label)
        copied = next((case for case, other in known if overlap(label, other) > SAME), None)
        if copied is None:
            own.append(made)
        else:
            copies.append((made, copied))
    return own, copies


def overlap(a: Volume, b: Volume) -> float:
    """Dice of all that is labelled, where two label maps lie, as far as each lies inside the other's grid."""
    a_in_b, b_in_a = _places(a, b), _places(b, a)
    size_a, size_b = len(a_in_b) * np.prod(a.spacing), len(b_in_a) * np.prod(b.spacing)
    both = np.count_nonzero(b.array[tuple(a_in_b.T)]) * np.prod(a.spacing)
    return float(2 * both / (size_a + size_b)) if size_a + size_b else 0.0


def _places(label: Volume, grid: Volume) -> npt.NDArray[np.int64]:
    """The voxels of `grid` (n, 3) nearest to what is labelled, one for each labelled voxel that lies inside it."""
    to_grid = np.linalg.inv(grid.affine) @ label.affine
    place = np.rint(np.argwhere(label.array) @ to_grid[:3, :3].T + to_grid[:3, 3]).astype(np.int64)
    return place[np.all((place >= 0) & (place < grid.shape), axis=1)]

"""Corrections: clicks and scribbles of a clinician, as further channels of a segmentation network's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.volumes import VolumeError
from trainers.preprocess import CanonicalGrid, Window

Floats = npt.NDArray[np.float32]
Voxels = npt.NDArray[np.int_]
Point = tuple[float, float, float]
Mark = tuple[int, Voxels]
"""What a correction says on the network's grid: a class, and the voxels (n, 3) that have it."""

STEP = 0.5  # voxels between the places that a scribble is taken at


@dataclass(frozen=True)
class Click:
    """One correction: "here is this label".

    Attributes:
        label: a label value of the model; 0 is background.
        points: RAS mm. One is a click; several are a scribble through them, in their order.
    """

    label: int
    points: tuple[Point, ...]


class Clicks:
    """The corrections of one image, on the grid that the network sees.

    Args:
        clicks: in the order in which they were made; where two contradict each other the later one holds.
        grid: of the image.
        values: label value of every class, that of the background first.

    Raises:
        VolumeError: `outside_image` for a correction outside the image, `wrong_labels` for a label the model lacks.
    """

    def __init__(self, clicks: Sequence[Click], grid: CanonicalGrid, values: Sequence[int]) -> None:
        self.marked: list[Mark] = []
        for number, click in enumerate(clicks, start=1):
            _check(number, click, grid, values)
            self.marked.append((list(values).index(click.label), _line([grid.index(p) for p in click.points])))

    def __len__(self) -> int:
        return len(self.marked)

    def places(self) -> list[npt.NDArray[np.float64]]:
        """The middle, canonical index, of every correction that adds a label."""
        return [voxels.mean(0) for index, voxels in self.marked if index]

    def inside(self, window: Window) -> list[Mark]:
        """What they mark of a window, in their order; voxels are counted from the window's first."""
        found = []
        for index, voxels in self.marked:
            local = voxels - np.asarray(window.start)
            kept = local[np.all((local >= 0) & (local < window.size), axis=1)]
            found += [(index, kept)] if len(kept) else []
        return found


def by_class(marks: Sequence[Mark]) -> dict[int, Voxels]:
    """The marked voxels of each class that has any; a voxel is of the class that was said of it last."""
    owner = {tuple(map(int, place)): index for index, voxels in marks for place in voxels}
    classes = sorted(set(owner.values()))
    return {index: np.array([place for place, of in owner.items() if of == index]) for index in classes}


def channels(marks: Mapping[int, Voxels], classes: int, size: Sequence[int], spread: float) -> Floats:
    """One channel for each class: exp(-d^2 / (2 spread^2)), d the distance to its nearest marked voxel; else 0.

    As the Gaussian heat maps of DeepEdit (Diaz-Pinto et al. 2023, section 2.2), but that marks side by side do not add
    up, so that a scribble counts as much as a click.

    Args:
        marks: class to voxels (n, 3).
        classes: with the background.
        size: (x, y, z).
        spread: voxels.

    Returns:
        (class, x, y, z).
    """
    found = np.zeros((classes, *size), np.float32)
    for index, voxels in marks.items():
        free = np.ones(tuple(size), bool)
        free[tuple(voxels.T)] = False
        found[index] = np.exp(-(ndimage.distance_transform_edt(free) ** 2) / (2 * spread**2))
    return found


def obey(maps: Floats, marks: Mapping[int, Voxels]) -> Floats:
    """Class probabilities (class, x, y, z) that are sure of the marked voxels; a copy."""
    out = maps.copy()
    for index, voxels in marks.items():
        out[(slice(None), *voxels.T)] = 0
        out[(index, *voxels.T)] = 1
    return out


def _check(number: int, click: Click, grid: CanonicalGrid, values: Sequence[int]) -> None:
    if click.label not in values:
        known = ", ".join(map(str, values))
        raise VolumeError("wrong_labels", f"Correction {number} has the label {click.label}.", f"Known: {known}.")
    for point in click.points:
        if not grid.contains(point):
            place = ", ".join(f"{v:.1f}" for v in point)
            message = f"Correction {number}, at R {place} S mm, lies outside the image."
            raise VolumeError("outside_image", message, "Take it back and click inside the image.")


def _line(points: Sequence[npt.NDArray[np.floating]]) -> Voxels:
    """The voxels on the line through some places, each once."""
    path = [points[0][None]]
    for start, end in pairwise(points):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / STEP)))
        path.append(start + (end - start) * np.arange(1, count + 1)[:, None] / count)
    return np.unique(np.rint(np.concatenate(path)).astype(int), axis=0)

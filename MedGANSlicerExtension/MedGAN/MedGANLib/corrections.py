"""What a clinician says of places in an image, to correct a model's result: clicks and scribbles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from .errors import OutsideImage

Voxel = Tuple[float, float, float]
MOST_CORRECTIONS, MOST_POINTS = 256, 1000
"""How many corrections a request may have, and points one of them, where the server's schema does not say it."""


@dataclass(frozen=True)
class Correction:
    """A label, and the places that have it: one for a click, several in their order for a scribble.

    Places are kept as indices (i, j, k) of the image, with fractions, so that they stay where they belong when the
    image is moved.
    """

    label: str
    voxels: Tuple[Voxel, ...]

    def places(self, matrix: np.ndarray) -> List[List[float]]:
        """Return the places in RAS mm, given the image's matrix from (i, j, k) to RAS."""
        return [[float(value) for value in (matrix @ [*voxel, 1.0])[:3]] for voxel in self.voxels]


def correction_at(
    label: str, places: Sequence[Sequence[float]], matrix: np.ndarray, size: Tuple[int, int, int], name: str
) -> Correction:
    """Return the correction at places in RAS mm.

    Args:
        label: What is there.
        places: Where, in RAS mm.
        matrix: The image's, from (i, j, k) to RAS.
        size: Number of voxels along i, j and k.
        name: The image's name, for the message.

    Raises:
        OutsideImage: A place lies outside the image.
    """
    inverse = np.linalg.inv(matrix)
    voxels = [(inverse @ [*place, 1.0])[:3] for place in places]
    for number, voxel in enumerate(voxels, start=1):
        if not all(-0.5 <= voxel[axis] <= size[axis] - 0.5 for axis in range(3)):
            which = f"Point {number} of the scribble" if len(voxels) > 1 else "The click"
            raise OutsideImage(f"{which} lies outside '{name}'; it was not used.", "Click inside the image.")
    return Correction(label, tuple((float(v[0]), float(v[1]), float(v[2])) for v in voxels))


def thinned(places: Sequence[Sequence[float]], most: int = MOST_POINTS) -> Sequence[Sequence[float]]:
    """Return at most `most` places, evenly chosen, with the first and the last one."""
    if len(places) <= most:
        return places
    return [places[index] for index in np.linspace(0, len(places) - 1, most).round().astype(int)]


def clicks_option(corrections: Sequence[Correction], matrix: np.ndarray) -> List[Dict[str, Any]]:
    """Return the option of a run that carries corrections; `matrix` is the image's at the server."""
    return [{"label": item.label, "points": item.places(matrix)} for item in corrections]

"""Lesions put into healthy images, of known place, size and contrast, to measure how well anomalies are found.

They are blobs with irregular edges, rings, or patches of another texture, and may push aside what is around them. A
contrast is told in standard deviations of the tissue, or in physical units of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
KINDS = ("blob", "ring", "texture")
IRREGULAR = 0.35
"""How far the edge of a lesion strays, as a share of its radius."""
RIM = 0.45
"""Thickness of a ring, as a share of its radius."""


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes:
        kind: one of KINDS. A texture has no mean contrast: noise of that deviation, correlated over two voxels.
        radius: mm, of a ball of the same volume before its edge is made irregular.
        contrast: added to the image, in its units; negative is darker.
        mass: how far tissue around it is pushed outwards, as a share of the radius; 0 pushes nothing.
        softness: mm over which its edge fades.
    """

    kind: str = "blob"
    radius: float = 4.0
    contrast: float = 1.0
    mass: float = 0.0
    softness: float = 0.7

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no lesion {self.kind!r}. Known: {', '.join(KINDS)}.")
        if self.radius <= 0 or self.softness < 0 or not 0 <= self.mass <= 1:
            raise ValueError("A lesion has a radius above 0, a softness of at least 0 and a mass effect of 0 to 1.")


def add_lesion(
    image: Floats,
    lesion: Lesion,
    centre: tuple[float, ...],
    spacing: tuple[float, ...],
    random: np.random.Generator,
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Puts a lesion into an image.

    Args:
        image: (x, y) or (x, y, z).
        lesion: what.
        centre: voxels.
        spacing: mm.
        random: of shape and texture.

    Returns:
        The image and the mask of where the lesion is at least half as strong as at its strongest.
    """
    distance = _distance(image.shape, centre, spacing)
    pushed = _push(image, distance, lesion, centre) if lesion.mass else image
    edge = distance - lesion.radius * (1 + IRREGULAR * _waves(image.shape, spacing, lesion.radius, random))
    strength = _fade(edge, lesion.softness)
    if lesion.kind == "ring":
        strength = strength * (1 - _fade(edge + RIM * lesion.radius, lesion.softness))
    added = lesion.contrast * strength
    if lesion.kind == "texture":
        noise = ndimage.gaussian_filter(random.normal(size=image.shape), 0.8)
        added = added * noise / noise.std()
    return (pushed + added).astype(np.float32), strength >= 0.5


def place_for(
    tissue: npt.NDArray[np.bool_], radius: float, spacing: tuple[float, ...], random: np.random.Generator
) -> tuple[float, ...]:
    """A voxel of the tissue at random, as far inside as a lesion of that radius needs, or else as far as there is."""
    inside = ndimage.distance_transform_edt(np.pad(tissue, 1), sampling=spacing)[(slice(1, -1),) * tissue.ndim]
    places = np.argwhere(inside >= min(0.7 * radius, float(inside.max())))
    if not len(places) or not tissue.any():
        raise ValueError("There is no tissue to put a lesion into.")
    return tuple(float(n) for n in places[int(random.integers(len(places)))])


def _distance(shape: tuple[int, ...], centre: tuple[float, ...], spacing: tuple[float, ...]) -> Floats:
    """Distance from the centre, mm."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squares = [((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True)]
    return np.asarray(np.sqrt(sum(squares)), np.float32)


def _waves(shape: tuple[int, ...], spacing: tuple[float, ...], radius: float, random: np.random.Generator) -> Floats:
    """A smooth random field of unit deviation, with bumps as large as half the radius."""
    field = ndimage.gaussian_filter(random.normal(size=shape), [0.5 * radius / s for s in spacing], mode="wrap")
    return np.asarray(field / max(field.std(), 1e-9), np.float32).clip(-2, 2)


def _fade(edge: Floats, softness: float) -> Floats:
    """1 inside, 0 outside, 0.5 on the edge, mm from which are given."""
    return np.asarray(1 / (1 + np.exp(np.clip(edge / max(softness / 2, 1e-3), -50, 50))), np.float32)


def _push(image: Floats, distance: Floats, lesion: Lesion, centre: tuple[float, ...]) -> Floats:
    """Tissue moved outwards from the centre, most at the lesion's edge, nothing three radii away."""
    moved = lesion.mass * lesion.radius * np.exp(-((distance / (1.5 * lesion.radius)) ** 2))
    share = np.minimum(moved / np.maximum(distance, 1e-3), 0.8)
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in image.shape], indexing="ij")
    source = [a - (a - c) * share for a, c in zip(axes, centre, strict=True)]
    return np.asarray(ndimage.map_coordinates(image, source, order=1, mode="nearest"), np.float32)

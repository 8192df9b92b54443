"""Volumes of one patient on one grid, by where their voxels are in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.volumes import Grid, Volume, VolumeError, same_grid

ROUNDING = 1e-3  # voxels


class Aligned(NamedTuple):
    """A volume on another one's grid.

    Attributes:
        array: float32, of the grid's shape.
        share: how much of the grid lies in the volume's own field, above 0 and at most 1.
    """

    array: npt.NDArray[np.float32]
    share: float


def align(volume: Volume, grid: Grid) -> Aligned:
    """Samples a volume on a grid linearly, in mm; outside its field is its smallest value, which is air.

    A volume that is finer than the grid is smoothed first, so that no voxel is left out: sigma (factor - 1) / 2 voxels
    of its own, as in scikit-image.

    Args:
        volume: of any grid and orientation.
        grid: to sample on.

    Raises:
        VolumeError: the two have no place in common.
    """
    if same_grid(volume, grid):
        return Aligned(np.asarray(volume.array, np.float32), 1.0)
    to_own = np.linalg.inv(volume.affine) @ grid.affine
    inside = _inside(to_own, grid.shape, volume.shape)
    if not inside.any():
        hint = "Give images of the same body part that share one frame of reference, or register them first."
        raise VolumeError("wrong_geometry", "The images do not overlap.", hint)
    array = np.asarray(volume.array, np.float32)
    sigma = np.maximum(0, (np.linalg.norm(to_own[:3, :3], axis=1) - 1) / 2)
    smooth = ndimage.gaussian_filter(array, sigma) if sigma.max() > ROUNDING else array
    found = ndimage.affine_transform(smooth, _matrix(to_own), to_own[:3, 3], grid.shape, order=1, mode="nearest")
    return Aligned(np.where(inside, found, array.min()), float(inside.mean()))


def reordered(volume: Volume, grid: Grid) -> Volume:
    """A volume on a grid that differs from its own in the order and direction of the axes alone.

    Raises:
        VolumeError: it has other voxels, or they lie elsewhere.
    """
    order = orientations.io_orientation(np.linalg.inv(grid.affine) @ volume.affine)
    turned = Volume(
        np.asarray(orientations.apply_orientation(volume.array, order)),
        volume.affine @ orientations.inv_ornt_aff(order, volume.shape),
    )
    if not same_grid(turned, grid):
        shapes = " and ".join(" x ".join(map(str, one.shape)) for one in (volume, grid))
        message = f"It is not on the grid of its image ({shapes} voxels, or they lie elsewhere)."
        raise VolumeError("wrong_geometry", message, "Export it with the image as its reference geometry.")
    return turned


def _inside(affine: npt.NDArray[np.float64], shape: Sequence[int], own: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which voxels of a grid an affine maps into voxels of another one."""
    x, y, z = np.ogrid[tuple(map(slice, shape))]
    inside = np.ones(tuple(shape), bool)
    for row, size in zip(affine[:3], own, strict=True):
        place = row[0] * x + row[1] * y + row[2] * z + row[3]
        inside &= (place >= -0.5 - ROUNDING) & (place <= size - 0.5 + ROUNDING)
    return inside


def _matrix(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The linear part; its diagonal alone where that is all, which scipy does many times faster."""
    linear, diagonal = affine[:3, :3], np.diag(affine[:3, :3])
    return diagonal if np.abs(linear - np.diag(diagonal)).max() < 1e-6 else linear

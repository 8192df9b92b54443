"""Boxes cut out of large scans on the disk, without reading the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from trainers.data.sets import Sample
from trainers.data.volumes import FORMATS, Header, VolumeError, check_file

AIR = -1024.0  # HU


@dataclass(frozen=True)
class Patch:
    """A box around a point of a scan.

    Attributes:
        center: RAS mm.
        voxels: size along the scan's own axes, or None if `mm` tells it.
        mm: size along the scan's own axes; the nearest whole number of voxels is taken, at least one.
    """

    center: tuple[float, float, float]
    voxels: tuple[int, int, int] | None = (64, 64, 64)
    mm: tuple[float, float, float] | None = None

    def size(self, spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.int_]:
        """Voxels along each axis of a scan with voxels of `spacing` mm."""
        if self.mm is None:
            return np.array(self.voxels)
        return np.maximum(1, np.round(np.array(self.mm) / spacing)).astype(int)


def read_patch(path: Path, patch: Patch, outside: float = AIR) -> Sample:
    """Reads the box alone: of an uncompressed file (`.mhd` with `.raw`) only the slices that it touches leave the disk.

    The box's middle is the voxel nearest to the point, or, for an even size, the corner of voxels nearest to it. Voxels
    stay as they are stored and along the scan's own axes; nothing is resampled.

    Args:
        path: a scan in any format that ITK reads; `.mhd` too.
        patch: where and how large.
        outside: value of voxels that lie outside the scan.

    Returns:
        (1, x, y, z) float32 with the affine of the box.

    Raises:
        VolumeError: the file is not a readable 3D image, or the point lies outside it.
    """
    header = check_file(path)
    index = (np.linalg.inv(header.affine) @ [*patch.center, 1.0])[:3]
    _check_inside(index, header, path, patch)
    size = patch.size(np.linalg.norm(header.affine[:3, :3], axis=0))
    start = np.floor(index - (size - 1) / 2 + 0.5).astype(int)
    low, high = np.clip(start, 0, header.shape), np.clip(start + size, 0, header.shape)
    array = np.full(size, outside, np.float32)
    inner = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    array[inner] = _read_region(path, low, high - low)
    affine = header.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Sample(array[np.newaxis], None, affine)


def _check_inside(index: npt.NDArray[np.float64], header: Header, path: Path, patch: Patch) -> None:
    if (index < -0.5).any() or (index > np.array(header.shape) - 0.5).any():
        point, voxel = (", ".join(f"{v:.1f}" for v in values) for values in (patch.center, index))
        raise VolumeError(
            "wrong_geometry",
            f"{path}: the point ({point}) mm RAS is voxel ({voxel}), outside of the {header.shape} voxels.",
            "The coordinates probably belong to another scan.",
        )


def _read_region(path: Path, start: Sequence[int] | Any, size: Sequence[int] | Any) -> npt.NDArray[Any]:
    """Voxels (x, y, z) of a box that lies in the image."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(FORMATS.get(path.suffix.lower(), ""))
    reader.SetFileName(str(path))
    reader.SetExtractIndex([int(n) for n in start])
    reader.SetExtractSize([int(n) for n in size])
    try:
        return sitk.GetArrayFromImage(reader.Execute()).transpose(2, 1, 0)
    except RuntimeError as error:
        raise VolumeError(
            "not_an_image",
            f"{path}: the voxels cannot be read.",
            "Is the file that its header names (.raw, .zraw) beside it and complete? Else download it again.",
        ) from error

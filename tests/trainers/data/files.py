"""Small files in the formats of real data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from trainers.data.sets import DataSet
from trainers.data.volumes import Volume, write_volume


def volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Writes an (x, y, z) array."""
    write_volume(path, Volume(array, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine))
    return path


def picture(path: Path, rows: np.ndarray) -> Path:
    """Writes (row, column) or (row, column, 3) uint8 values by Pillow, as other programs would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rows).save(path, quality=100)
    return path


def scan(
    path: Path, array: np.ndarray, origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]
) -> Path:
    """Writes `.mhd` with `.raw` as LUNA16 does; (x, y, z) int16, geometry in LPS as ITK takes it."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetOrigin([float(v) for v in origin])
    image.SetSpacing([float(v) for v in spacing])
    image.SetDirection([float(v) for v in direction])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def ids(data: DataSet) -> list[str]:
    return [entry.id for entry in data.entries]

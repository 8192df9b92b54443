"""Scalar volume nodes and files. Coordinates are RAS millimetres. Main thread only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple, Union

import numpy as np

from .scene import Scene

SYNTHETIC = "MedGAN.Synthetic"
MODEL = "MedGAN.Model"
VERSION = "MedGAN.Version"
IMAGE_ID = "MedGAN.ImageId"
"""Node attributes: a GAN's image, who made it, and the server's id of a study."""


def affine(volume: Any) -> np.ndarray:
    """Return a volume's 4x4 matrix from voxel indices (i, j, k) to RAS millimetres."""
    raise NotImplementedError


def same_grid(a: Any, b: Any, tolerance: float = 1e-3) -> bool:
    """Whether two volumes have the same dimensions and their voxels the same places, within `tolerance` mm."""
    raise NotImplementedError


def check_sendable(volume: Any) -> Tuple[str, ...]:
    """Refuse what no model can use (no voxels, vectors, a sequence, a non-linear or shearing transform); return notes.

    Raises:
        SceneProblem: There is no volume, or not one that can be sent.
        TransformedVolume: It is under a transform that cannot be hardened without resampling.
    """
    raise NotImplementedError


def save_volume(volume: Any, path: Union[str, Path], scene: Scene) -> Tuple[str, ...]:
    """Write voxels and geometry, and nothing else (no name, no DICOM tags), of a volume to `path`.

    A linear parent transform is hardened in a copy; the volume itself is left alone. Returns notes for the user.
    """
    raise NotImplementedError


def load_volume(path: Union[str, Path], name: str, scene: Scene) -> Any:
    """Read an image file into a new scalar volume node with display nodes."""
    raise NotImplementedError


def add_result(path: Union[str, Path], name: str, model: str, version: str, scene: Scene) -> Any:
    """Read a model's image into a new volume node, marked as synthetic by node attributes and by its name."""
    raise NotImplementedError


def is_synthetic(volume: Any) -> bool:
    """Whether a volume was made or altered by a model."""
    raise NotImplementedError


def scalar_volumes(scene: Scene) -> List[Any]:
    """Return the scene's scalar volumes, without label maps."""
    raise NotImplementedError

"""Small scenes on slicer-core: volumes on awkward grids, label maps, segments, transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from MedGANLib.scene import Scene
from MedGANLib.segments import LabelTable, segment_ids, segment_of
from MedGANLib.volumes import affine, image_from_array, to_matrix, write_node

TABLE = LabelTable({"anterior": 3, "posterior": 7}, {"anterior": (0.9, 0.7, 0.2)}, "hippocampus")
SHAPE = (9, 8, 7)
"""Voxels along k, j, i."""


def rotation(seed: int) -> np.ndarray:
    """Returns a random proper rotation."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def grid(directions: np.ndarray, origin: tuple[float, float, float] = (5.0, -7.0, 3.0)) -> np.ndarray:
    """Returns an affine with spacing 1, 1.5 and 2.5 mm along the given directions."""
    matrix = np.eye(4)
    matrix[:3, :3] = directions @ np.diag([1.0, 1.5, 2.5])
    matrix[:3, 3] = origin
    return matrix


GRIDS = {
    "upright": grid(np.eye(3)),
    "flipped": grid(np.diag([-1.0, -1.0, 1.0])),
    "left-handed": grid(np.diag([-1.0, 1.0, 1.0])),
    "permuted": grid(np.eye(3)[[2, 0, 1]]),
    "oblique": grid(rotation(1)),
    "oblique and mirrored": grid(rotation(2) @ np.diag([1.0, 1.0, -1.0])),
}


def add_volume(scene: Scene, matrix: np.ndarray, name: str = "T1", shape: tuple[int, int, int] = SHAPE) -> Any:
    """Adds a float volume of noise."""
    volume = scene.add("vtkMRMLScalarVolumeNode", name)
    volume.SetIJKToRASMatrix(to_matrix(matrix))
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    volume.SetAndObserveImageData(image_from_array(noise))
    return volume


def labels(values: tuple[int, int] = (3, 7)) -> np.ndarray:
    """Returns an asymmetric label map: two boxes that touch."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:5, 1:4] = values[0]
    array[4:8, 2:7, 3:6] = values[1]
    return array


def write_labels(path: Path, array: np.ndarray, matrix: np.ndarray) -> Path:
    """Writes a label map file."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetIJKToRASMatrix(to_matrix(matrix))
    node.SetAndObserveImageData(image_from_array(array))
    write_node(node, path, compress=True)
    return path


def oriented(array: np.ndarray, matrix: np.ndarray) -> Any:
    """Returns an oriented image, as a segment holds it."""
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(image_from_array(array))
    image.SetImageToWorldMatrix(to_matrix(matrix))
    return image


def draw_segment(segmentation: Any, name: str, mask: np.ndarray, matrix: np.ndarray) -> str:
    """Adds a segment as a clinician would have drawn it; returns its ID."""
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation("Binary labelmap", oriented(mask.astype(np.uint8), matrix))
    segmentation.GetSegmentation().AddSegment(segment)
    return segment_ids(segmentation)[-1]


def edit_segment(segmentation: Any, segment_id: str, mask: np.ndarray, volume: Any) -> None:
    """Replaces a segment's voxels, as an effect of the Segment Editor does."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = oriented(mask.astype(np.uint8), affine(volume))
    assert logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE)


def names(segmentation: Any) -> list[str]:
    """Returns the names of all segments, in order."""
    return [segment_of(segmentation, segment_id).GetName() for segment_id in segment_ids(segmentation)]


def add_transform(scene: Scene, node: Any, matrix: np.ndarray) -> Any:
    """Puts a node under a linear transform."""
    transform = scene.add("vtkMRMLLinearTransformNode", "registration")
    transform.SetMatrixTransformToParent(to_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def rigid(seed: int = 5) -> np.ndarray:
    """Returns a rigid motion."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(seed)
    matrix[:3, 3] = (10.0, -4.0, 2.5)
    return matrix


def ras_affine(image: Any) -> np.ndarray:
    """Returns the voxel to RAS matrix of a SimpleITK image, which works in LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix

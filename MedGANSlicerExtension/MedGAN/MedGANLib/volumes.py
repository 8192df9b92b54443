"""Scalar volume nodes and files. Coordinates are RAS millimetres. Main thread only."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Tuple, Union

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .errors import NotAnImage, SceneProblem, StorageProblem, TransformedVolume
from .scene import Scene

SYNTHETIC = "MedGAN.Synthetic"
MODEL = "MedGAN.Model"
VERSION = "MedGAN.Version"
IMAGE_ID = "MedGAN.ImageId"
SERVER = "MedGAN.Server"
SERVER_AFFINE = "MedGAN.ServerAffine"
SERVER_FLIPPED = "MedGAN.ServerFlipped"
SERVER_VOXELS = "MedGAN.ServerVoxels"
UPLOAD_ID = "MedGAN.UploadId"
SEGMENTATION = "MedGAN.Segmentation"
"""Node attributes: a model's image, who made it, the server's id of a study, whose id that is, its affine there,
whether its slices are counted the other way there, a check sum of its voxels, the id under which it is uploaded. The
last is the role of a node reference from a volume to its segmentation."""

GRID_TOLERANCE = 0.01
"""Share of the smallest voxel edge by which two grids may differ and still be the same."""
SHEAR_TOLERANCE = 1e-3
"""Cosine of the angle between two axes above which a grid counts as sheared."""


def affine(volume: Any) -> np.ndarray:
    """Return the 4x4 matrix from voxel indices (i, j, k) to RAS millimetres of the world.

    A linear parent transform is part of it.

    Raises:
        TransformedVolume: The volume is under a non-linear transform, which no matrix describes.
    """
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return parent_matrix(volume) @ to_array(matrix)


def dimensions(volume: Any) -> Tuple[int, int, int]:
    """Return the number of voxels along i, j and k; zeros when there is no image."""
    image = volume.GetImageData()
    return image.GetDimensions() if image else (0, 0, 0)


def voxels(volume: Any) -> np.ndarray:
    """Return a view (k, j, i) of a scalar volume's voxels; valid as long as the node keeps its image."""
    return vtk_to_numpy(volume.GetImageData().GetPointData().GetScalars()).reshape(dimensions(volume)[::-1])


def same_grid(a: Any, b: Any, tolerance: float = GRID_TOLERANCE) -> bool:
    """Whether two volumes have the same dimensions and their voxels the same places in the world."""
    return dimensions(a) == dimensions(b) and same_affine(affine(a), affine(b), dimensions(a), tolerance)


def same_affine(a: np.ndarray, b: np.ndarray, size: Tuple[int, int, int], tolerance: float = GRID_TOLERANCE) -> bool:
    """Whether two matrices put all corners of a grid of `size` to the same place, within a share of a voxel's edge."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], [1])).reshape(4, -1)
    edge = np.linalg.norm(a[:3, :3], axis=0).min()
    return bool(np.abs((a - b) @ corners).max() <= tolerance * edge)


def check_sendable(volume: Any) -> Tuple[str, ...]:
    """Refuse what no model can use; return notes about what will be done to the volume.

    Raises:
        SceneProblem: There is no volume, or it is a label map, has no voxels or several values a voxel.
        TransformedVolume: It is under a transform that cannot be hardened without resampling.
    """
    if volume is None or not volume.IsA("vtkMRMLScalarVolumeNode"):
        raise SceneProblem("No volume is chosen.", "Choose a volume, or take the server's next study.")
    name = volume.GetName()
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        raise SceneProblem(f"'{name}' is a label map.", "Choose the image that it belongs to.")
    if not all(dimensions(volume)):
        raise SceneProblem(f"'{name}' has no voxels.", "Load the image again, or choose another volume.")
    if volume.GetImageData().GetNumberOfScalarComponents() != 1:
        raise SceneProblem(f"'{name}' has several values a voxel (colour or diffusion).", "Choose a scalar volume.")
    return _transform_notes(volume)


def save_volume(volume: Any, path: Union[str, Path]) -> None:
    """Write voxels and geometry of a volume, and nothing else (no name, no DICOM tags), uncompressed.

    A linear parent transform is hardened into the file's geometry; the volume itself is left alone.

    Raises:
        SceneProblem, TransformedVolume: See `check_sendable`.
        StorageProblem: The file could not be written.
    """
    check_sendable(volume)
    bare = slicer.vtkMRMLScalarVolumeNode()
    bare.SetIJKToRASMatrix(to_matrix(affine(volume)))
    bare.SetAndObserveImageData(volume.GetImageData())
    write_node(bare, path)


def load_volume(path: Union[str, Path], name: str, scene: Scene) -> Any:
    """Read an image file into a new scalar volume node with display nodes.

    Raises:
        NotAnImage: The file cannot be read.
    """
    source = read_node(path, "vtkMRMLScalarVolumeNode")
    volume = scene.add("vtkMRMLScalarVolumeNode", name)
    volume.SetIJKToRASMatrix(to_matrix(affine(source)))
    volume.SetAndObserveImageData(source.GetImageData())
    if volume.GetDisplayNode():
        volume.GetDisplayNode().SetAutoWindowLevel(True)
    return volume


def add_result(path: Union[str, Path], name: str, model: str, version: str, scene: Scene) -> Any:
    """Read a model's image into a new volume node, marked as synthetic by its attributes and by its name."""
    volume = load_volume(path, f"{name} (synthetic, {model} {version})".replace(" )", ")"), scene)
    volume.SetAttribute(SYNTHETIC, "true")
    volume.SetAttribute(MODEL, model)
    volume.SetAttribute(VERSION, version)
    return volume


def is_synthetic(volume: Any) -> bool:
    """Whether a volume was made or altered by a model."""
    return volume.GetAttribute(SYNTHETIC) == "true"


def scalar_volumes(scene: Scene) -> List[Any]:
    """Return the scene's scalar volumes, without label maps."""
    return [v for v in scene.nodes("vtkMRMLScalarVolumeNode") if not v.IsA("vtkMRMLLabelMapVolumeNode")]


@dataclass(frozen=True)
class SentVolume:
    """A volume node, and what of it went to a server: where it lay, and a check sum of its voxels."""

    volume: Any
    matrix: np.ndarray
    check_sum: str

    @classmethod
    def of(cls, volume: Any) -> SentVolume:
        """Return a volume as it is now."""
        return cls(volume, affine(volume), _check_sum(volume))


def mark_known(
    volume: Any, server: str, image_id: str, flipped: bool = False, sent: Optional[SentVolume] = None
) -> None:
    """Note on a volume that a server has it as the study `image_id`.

    Args:
        volume: The volume.
        server: The server's address.
        image_id: The id there.
        flipped: Whether the file there counts its slices the other way (see `headers`).
        sent: The volume as the server has it; by default as it is now.
    """
    there = sent or SentVolume.of(volume)
    volume.SetAttribute(SERVER_FLIPPED, "true" if flipped else None)
    volume.SetAttribute(SERVER_VOXELS, there.check_sum)
    volume.SetAttribute(SERVER, server)
    volume.SetAttribute(IMAGE_ID, image_id)
    volume.SetAttribute(SERVER_AFFINE, json.dumps(there.matrix.tolist()))


def is_changed(volume: Any) -> bool:
    """Whether a volume's voxels are not those that the server has of it; no, when no server has it."""
    known = volume.GetAttribute(SERVER_VOXELS)
    return known is not None and known != _check_sum(volume)


def forget_if_changed(volume: Any) -> bool:
    """Forget the server's id of a volume whose voxels are not those that the server has; return whether they are not.

    Slicer copies a node's attributes when it clones a volume, and filters change voxels in place.
    """
    changed = is_changed(volume)
    if changed:
        for attribute in (IMAGE_ID, SERVER, SERVER_AFFINE, SERVER_FLIPPED, SERVER_VOXELS, UPLOAD_ID):
            volume.SetAttribute(attribute, None)
    return changed


def _check_sum(volume: Any) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(voxels(volume)).data):08x}"


def known_id(volume: Any, server: str) -> str:
    """Return the id that a volume has at a server; empty when it does not know it."""
    return (volume.GetAttribute(IMAGE_ID) or "") if volume.GetAttribute(SERVER) == server else ""


def server_affine(volume: Any, server: str) -> np.ndarray:
    """Return the voxel to RAS matrix of a volume as a server has it, however it was moved here since."""
    text = volume.GetAttribute(SERVER_AFFINE) if known_id(volume, server) else None
    return np.array(json.loads(text)) if text else affine(volume)


def server_flipped(volume: Any, server: str) -> bool:
    """Whether a server's file of a volume counts its slices the other way."""
    return bool(known_id(volume, server)) and volume.GetAttribute(SERVER_FLIPPED) == "true"


def flip_slices(matrix: np.ndarray, depth: int) -> np.ndarray:
    """Return the voxel to RAS matrix of the same grid with its `depth` slices counted from the other end."""
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = depth - 1
    return matrix @ flip


def read_on_grid(path: Union[str, Path], size: Tuple[int, int, int], grid: np.ndarray) -> Optional[np.ndarray]:
    """Return the voxels (k, j, i) of a label map file in the order of a grid; None when the file is on another one.

    Slicer reverses the slices of left-handed files while it reads; they are put back into the grid's order.
    """
    node = read_node(path, "vtkMRMLLabelMapVolumeNode")
    if dimensions(node) != size:
        return None
    if same_affine(affine(node), grid, size):
        return np.array(voxels(node))
    return np.array(voxels(node)[::-1]) if same_affine(flip_slices(affine(node), size[2]), grid, size) else None


def read_node(path: Union[str, Path], class_name: str) -> Any:
    """Read an image file into a node outside of any scene."""
    node = getattr(slicer, class_name)()
    if not Path(path).is_file() or not _storage(path).ReadData(node) or not all(dimensions(node)):
        raise NotAnImage("The file that came from the server cannot be read as an image.", "Tell the administrator.")
    return node


def write_node(volume: Any, path: Union[str, Path], compress: bool = False) -> None:
    """Write a volume node's voxels and geometry; raises `StorageProblem` when that fails."""
    storage = _storage(path)
    storage.SetUseCompression(compress)
    if not storage.WriteData(volume) or not Path(path).is_file():
        raise StorageProblem("A volume could not be written to a temporary file.", "Check the disk's free space.")


def image_from_array(array: np.ndarray) -> Any:
    """Return a `vtkImageData` with a copy of an array (k, j, i)."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return image


def to_array(matrix: Any) -> np.ndarray:
    """Return a `vtkMatrix4x4` as an array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_matrix(array: np.ndarray) -> Any:
    """Return a 4x4 array as a `vtkMatrix4x4`."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in array.ravel()])
    return matrix


def _storage(path: Union[str, Path]) -> Any:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetSingleFile(True)
    storage.SetCenterImage(False)
    return storage


def parent_matrix(node: Any) -> np.ndarray:
    """Return the 4x4 matrix from a node's own frame to the world.

    Raises:
        TransformedVolume: The node is under a non-linear transform, which no matrix describes.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise _transformed(node, "non-linear")
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return to_array(matrix)


def _transform_notes(volume: Any) -> Tuple[str, ...]:
    if volume.GetParentTransformNode() is None:
        return ()
    if is_sheared(affine(volume)):
        raise _transformed(volume, "shearing")
    return (f"'{volume.GetName()}' is under a transform; a copy with the transform applied is used.",)


def is_sheared(matrix: np.ndarray) -> bool:
    """Whether a voxel to RAS matrix has axes that are not at right angles, which image files cannot tell."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE)


def _transformed(volume: Any, kind: str) -> TransformedVolume:
    return TransformedVolume(
        f"'{volume.GetName()}' is under a {kind} transform.",
        "Resample it first (module 'Resample Scalar/Vector/DWI Volume'), or take it out of the transform.",
    )

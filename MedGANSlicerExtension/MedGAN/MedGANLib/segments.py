"""Segments: what they are called, which model made them, their voxels, and whether they were edited. Main thread only.

A label is its integer value and its name; both are kept with the segment, in its tags.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .patches import crop
from .records import Color
from .volumes import image_from_array, parent_matrix, to_array, to_matrix

BINARY = "Binary labelmap"
MODEL_TAG = "MedGAN.Model"
VERSION_TAG = "MedGAN.Version"
VALUE_TAG = "MedGAN.LabelValue"
FINGERPRINT_TAG = "MedGAN.Fingerprint"
"""Tags of the segments that a model made; the fingerprint tells whether they were edited since."""
EMPTY = "empty"
"""The fingerprint of a segment without voxels."""
PALETTE: Tuple[Color, ...] = (
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.00, 0.62, 0.45),
    (0.94, 0.89, 0.26),
    (0.80, 0.47, 0.65),
    (0.84, 0.37, 0.00),
    (0.00, 0.45, 0.70),
)
"""Colours for labels without one; told apart with colour-blind eyes (Okabe and Ito, 2008)."""


@dataclass(frozen=True)
class LabelTable:
    """The colour table of a model: name -> value, name -> colour, and the name of the model."""

    values: Mapping[str, int]
    colors: Mapping[str, Color] = field(default_factory=dict)
    model: str = ""

    def name_of(self, value: int) -> str:
        """Return the name of a value; `label 7` when the table has none."""
        return next((name for name, known in self.values.items() if known == value), f"label {value}")

    def color_of(self, value: int) -> Color:
        """Return the colour of a value; one of the palette when the table has none."""
        return self.colors.get(self.name_of(value), PALETTE[value % len(PALETTE)])

    def value_named(self, name: str) -> Optional[int]:
        """Return the value of a name, whatever its case; None when there is none."""
        wanted = name.strip().casefold()
        return next((value for known, value in self.values.items() if known.strip().casefold() == wanted), None)


@dataclass
class Removed:
    """A segment that was taken out, able to be put back."""

    segment_id: str
    segment: Any


def is_edited(segmentation: Any, segment_id: str) -> bool:
    """Whether a model's segment was changed since it was placed."""
    return get_tag(segment_of(segmentation, segment_id), FINGERPRINT_TAG) != _fingerprint(segmentation, segment_id)


def handwork(segmentation: Any) -> str:
    """Return a digest of all segments when some were drawn or changed by hand; empty when there are none such."""
    digest, found = hashlib.sha256(), False
    for segment_id in segment_ids(segmentation):
        segment, now = segment_of(segmentation, segment_id), _fingerprint(segmentation, segment_id)
        found = found or now != (get_tag(segment, FINGERPRINT_TAG) or EMPTY)
        digest.update(f"{segment.GetName()} {now}\n".encode())
    return digest.hexdigest()[:32] if found else ""


def draw_segment(segmentation: Any, segment_id: str, mask: np.ndarray, matrix: np.ndarray) -> None:
    """Replace a segment's voxels by a mask (k, j, i) with its matrix to RAS in the scene; nothing of it may be inside.

    Raises:
        TransformedVolume: The segmentation is under a non-linear transform.
    """
    voxels = mask.astype(np.uint8) if mask.size else np.zeros((1, 1, 1), np.uint8)
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(image_from_array(voxels))
    image.SetImageToWorldMatrix(to_matrix(np.linalg.inv(parent_matrix(segmentation)) @ matrix))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE)


def tag_as_drawn(segmentation: Any, segment_id: str) -> None:
    """Note that a segment is as the model made it, so that what changes from now on is a correction."""
    segment_of(segmentation, segment_id).SetTag(FINGERPRINT_TAG, _fingerprint(segmentation, segment_id))


def segment_of(segmentation: Any, segment_id: str) -> Any:
    """Return the segment with an ID."""
    return segmentation.GetSegmentation().GetSegment(segment_id)


def segment_ids(segmentation: Any) -> List[str]:
    """Return the IDs of all segments, in order."""
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]


def get_tag(segment: Any, tag: str) -> str:
    """Return the text of a segment's tag; empty when it has none."""
    text = vtk.mutable("")
    return str(text) if segment.GetTag(tag, text) else ""


def binary_image(segmentation: Any, segment_id: str, world: bool) -> Any:
    """Return a segment's own label map (1 inside, uint8), in the world or in the segmentation's frame.

    Segments may share one label map in the segmentation; the copy holds this segment alone.
    """
    image = slicer.vtkOrientedImageData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.GetSegmentBinaryLabelmapRepresentation(segmentation, segment_id, image, world)
    if segmentation.GetSegmentation().ContainsRepresentation(BINARY) and image.GetPointData().GetScalars():
        inside = vtk_to_numpy(image.GetPointData().GetScalars()) == segment_of(segmentation, segment_id).GetLabelValue()
        image.GetPointData().SetScalars(numpy_to_vtk(inside.astype(np.uint8), deep=True))
    return image


def oriented_array(image: Any) -> np.ndarray:
    """Return a view (k, j, i) of an oriented image's voxels; empty when it has none."""
    scalars = image.GetPointData().GetScalars()
    size = image.GetDimensions()[::-1]
    return np.zeros((0, 0, 0), np.uint8) if scalars is None or 0 in size else vtk_to_numpy(scalars).reshape(size)


def image_affine(image: Any) -> np.ndarray:
    """Return the 4x4 matrix from an oriented image's voxel indices (i, j, k) to its frame."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return to_array(matrix)


def model_segments(segmentation: Any, model: str) -> Dict[int, str]:
    """Return label value -> ID of the segments that a model made; the first one of those with the same value."""
    made = [i for i in segment_ids(segmentation) if get_tag(segment_of(segmentation, i), MODEL_TAG) == model]
    return {label_value(segmentation, segment_id): segment_id for segment_id in reversed(made)}


def model_version(segmentation: Any, model: str) -> str:
    """Return the version that made the model's segments; empty when there are none, or they are of several versions."""
    made = (segment_of(segmentation, segment_id) for segment_id in model_segments(segmentation, model).values())
    versions = {get_tag(segment, VERSION_TAG) for segment in made}
    return versions.pop() if len(versions) == 1 else ""


def copy_segment(segmentation: Any, segment_id: str) -> Removed:
    """Return a segment as it is; the copy holds its voxels alone, not those that share its label map."""
    segment = segment_of(segmentation, segment_id)
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    copy.AddRepresentation(BINARY, binary_image(segmentation, segment_id, world=False))
    copy.SetLabelValue(1)
    return Removed(segment_id, copy)


def tag_segment(segmentation: Any, segment_id: str, model: str, version: str) -> None:
    """Note on a new segment which model made it, and the label that it has."""
    segment = segment_of(segmentation, segment_id)
    segment.SetTag(MODEL_TAG, model)
    segment.SetTag(VERSION_TAG, version)
    segment.SetTag(VALUE_TAG, str(segment.GetLabelValue()))
    tag_as_drawn(segmentation, segment_id)


def label_value(segmentation: Any, segment_id: str) -> int:
    """Return the label that a model gave a segment; 0 when none did."""
    return int(get_tag(segment_of(segmentation, segment_id), VALUE_TAG) or 0)


def _fingerprint(segmentation: Any, segment_id: str) -> str:
    """Return a digest of a segment's voxels and their place; the same however its label map is padded or shared."""
    image = binary_image(segmentation, segment_id, world=False)
    mask = oriented_array(image) > 0
    if not mask.any():
        return EMPTY
    inside, low = crop(mask)
    digest = hashlib.sha256(np.packbits(inside).tobytes())
    digest.update(f"{inside.shape} {_place(image, low)}".encode())
    return digest.hexdigest()[:32]


def _place(image: Any, low: Sequence[int]) -> List[int]:
    """Return the place of a voxel (k, j, i from the extent's start) in tenths of a millimetre."""
    start = image.GetExtent()[::2]
    index = [start[axis] + low[2 - axis] for axis in range(3)] + [1]
    return [round(10 * float(value)) for value in (image_affine(image) @ index)[:3]]

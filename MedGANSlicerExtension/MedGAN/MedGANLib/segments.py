"""From a model's label map to segments, by label value through a colour table. Main thread only.

A label is its integer value and its name. Values are never renumbered; segments drawn by hand are never touched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .errors import CannotProcess, WrongGrid
from .patches import Patch, crop
from .records import Color
from .scene import Scene
from .volumes import affine, dimensions, image_from_array, parent_matrix, read_on_grid, to_array, to_matrix

BINARY = "Binary labelmap"
MODEL_TAG = "MedGAN.Model"
VERSION_TAG = "MedGAN.Version"
VALUE_TAG = "MedGAN.LabelValue"
FINGERPRINT_TAG = "MedGAN.Fingerprint"
"""Tags of the segments that a model made; the fingerprint tells whether they were edited since."""

KEEP = "keep"
REPLACE = "replace"
EditedPolicy = Union[str, Callable[[Sequence[str]], str]]
"""KEEP, REPLACE, or a function that is given the names of edited segments and returns one of the two."""

MAX_VALUE = 65535
"""The largest label value that fits a colour table."""
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


@dataclass
class Placement:
    """What a run changed in a segmentation, enough to undo it in one step.

    Attributes:
        segmentation: The segmentation node.
        added: IDs of the segments added.
        removed: The segments of the earlier run that they replaced.
        created: Whether the node was made for this run.
        notes: What the clinician should know: kept corrections, labels that are absent, values without a name.
        kept: IDs of the model's earlier segments that stay because they were corrected.
        redrawn: The model's earlier segments as they were before they were repaired in place.
        answer: The labels as the model gave them, without the clinician's edits.
    """

    segmentation: Any
    added: Tuple[str, ...] = ()
    removed: Tuple[Removed, ...] = ()
    created: bool = False
    notes: Tuple[str, ...] = ()
    kept: Tuple[str, ...] = ()
    redrawn: Tuple[Removed, ...] = ()
    answer: Optional[Patch] = None

    def undo(self, scene: Scene) -> None:
        """Take the added segments out and put the replaced ones back; other segments and edits to them stay."""
        segments = self.segmentation.GetSegmentation()
        for segment_id in set(self.added) & set(segment_ids(self.segmentation)):
            segments.RemoveSegment(segment_id)
        for removed in self.removed:
            segments.AddSegment(removed.segment, removed.segment_id)
        for earlier in self.redrawn:
            _put_back(self.segmentation, earlier)
        if self.created and segments.GetNumberOfSegments() == 0:
            scene.remove(self.segmentation)


def place_labels(
    path: Union[str, Path],
    volume: Any,
    table: LabelTable,
    model: str,
    version: str,
    scene: Scene,
    segmentation: Any = None,
    edited: EditedPolicy = KEEP,
    before_change: Optional[Callable[[Any], None]] = None,
    grid: Optional[np.ndarray] = None,
) -> Placement:
    """Put a label map into a segmentation, one segment a label value.

    Segments of an earlier run of the same model are replaced unless they were edited (`edited` decides).

    Args:
        path: Label map file.
        volume: The volume it belongs to.
        table: Names and colours of the values.
        model: Name of the model, for the tags.
        version: Its version, for the tags.
        scene: The scene.
        segmentation: Where to put the segments; None makes a new node.
        edited: What to do with segments edited since the earlier run.
        before_change: Called once, with the segmentation, before anything changes (Segment Editor's saveStateForUndo).
        grid: Voxel to RAS matrix that the file must have; by default the volume's. The segments always go where the
            volume is now.

    Raises:
        WrongGrid: The label map is not on that grid.
        CannotProcess: It holds values that cannot be labels.
    """
    patch, place = read_labels(path, volume, affine(volume) if grid is None else grid), affine(volume)
    found = patch.array, patch.matrix(place)
    return place_array(*found, volume, table, model, version, scene, segmentation, edited, before_change)


def place_array(
    labels: np.ndarray,
    matrix: np.ndarray,
    volume: Any,
    table: LabelTable,
    model: str,
    version: str,
    scene: Scene,
    segmentation: Any = None,
    edited: EditedPolicy = KEEP,
    before_change: Optional[Callable[[Any], None]] = None,
) -> Placement:
    """Do what `place_labels` does with a label map (k, j, i) and its matrix to RAS in the scene."""
    created = segmentation is None
    target = _new_segmentation(volume, scene) if created else segmentation
    if before_change and not created:
        before_change(target)
    kept, replaced = _sort_earlier(target, model, edited)
    labels = _without(labels, [_value_tag(target, segment_id) for segment_id in kept])
    removed = tuple(_take_out(target, segment_id) for segment_id in replaced)
    added = import_labels(labels, matrix, table, target, before=kept[0] if kept else "")
    for segment_id in added:
        tag_segment(target, segment_id, model, version)
    notes = notes_on(labels, table, [_name(target, segment_id) for segment_id in kept])
    return Placement(target, tuple(added), removed, created, tuple(notes), tuple(kept))


def is_edited(segmentation: Any, segment_id: str) -> bool:
    """Whether a model's segment was changed since it was placed."""
    return get_tag(segment_of(segmentation, segment_id), FINGERPRINT_TAG) != _fingerprint(segmentation, segment_id)


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


def read_labels(path: Union[str, Path], volume: Any, grid: np.ndarray) -> Patch:
    """Return what is labelled in a label map file.

    Raises:
        WrongGrid: The file is not on `grid` (voxel to RAS), which is the volume's as the server has it.
        CannotProcess: It holds values that cannot be labels.
    """
    found = read_on_grid(path, dimensions(volume), grid)
    if found is None:
        raise WrongGrid(
            f"The result does not lie on the grid of '{volume.GetName()}'; it was not shown.",
            "Run the model again; if it happens again, tell the administrator.",
        )
    cropped, first = crop(found)
    labels = cropped.astype(np.int32)
    if not np.array_equal(labels, cropped) or labels.min() < 0 or labels.max() > MAX_VALUE:
        raise CannotProcess("The result has values that are not labels.", "Tell the administrator.")
    return Patch(labels, tuple(first))


def _new_segmentation(volume: Any, scene: Scene) -> Any:
    node = scene.add("vtkMRMLSegmentationNode", f"{volume.GetName()} segmentation")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def _sort_earlier(segmentation: Any, model: str, edited: EditedPolicy) -> Tuple[List[str], List[str]]:
    """Return the IDs of the model's earlier segments: those to keep because they were edited, and those to replace."""
    earlier = [i for i in segment_ids(segmentation) if get_tag(segment_of(segmentation, i), MODEL_TAG) == model]
    changed = [segment_id for segment_id in earlier if is_edited(segmentation, segment_id)]
    if not changed:
        return [], earlier
    names = [_name(segmentation, segment_id) for segment_id in changed]
    policy = edited(names) if callable(edited) else edited
    if policy == REPLACE:
        return [], earlier
    return changed, [segment_id for segment_id in earlier if segment_id not in changed]


def _present(labels: np.ndarray) -> List[int]:
    """Return the values in a label map, without the background; by counting, which is far faster than sorting."""
    return [int(value) for value in np.flatnonzero(np.bincount(labels.ravel())) if value]


def _without(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    return np.where(np.isin(labels, values), 0, labels)


def model_segments(segmentation: Any, model: str) -> Dict[int, str]:
    """Return label value -> ID of the segments that a model made; the first one of those with the same value."""
    made = [i for i in segment_ids(segmentation) if get_tag(segment_of(segmentation, i), MODEL_TAG) == model]
    return {_value_tag(segmentation, segment_id): segment_id for segment_id in reversed(made)}


def copy_segment(segmentation: Any, segment_id: str) -> Removed:
    """Return a segment as it is; the copy holds its voxels alone, not those that share its label map."""
    segment = segment_of(segmentation, segment_id)
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    copy.AddRepresentation(BINARY, binary_image(segmentation, segment_id, world=False))
    copy.SetLabelValue(1)
    return Removed(segment_id, copy)


def _take_out(segmentation: Any, segment_id: str) -> Removed:
    removed = copy_segment(segmentation, segment_id)
    segmentation.GetSegmentation().RemoveSegment(segment_id)
    return removed


def _put_back(segmentation: Any, earlier: Removed) -> None:
    """Let a segment be as it was; one that was removed meanwhile is added again."""
    segment, image = segment_of(segmentation, earlier.segment_id), earlier.segment.GetRepresentation(BINARY)
    if segment is None:
        segmentation.GetSegmentation().AddSegment(earlier.segment, earlier.segment_id)
        return
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if oriented_array(image).size:
        logic.SetBinaryLabelmapToSegment(image, segmentation, earlier.segment_id, logic.MODE_REPLACE)
    else:
        draw_segment(segmentation, earlier.segment_id, np.zeros((0, 0, 0)), np.eye(4))
    for tag in (VERSION_TAG, FINGERPRINT_TAG):
        segment.SetTag(tag, get_tag(earlier.segment, tag))


def import_labels(
    labels: np.ndarray, matrix: np.ndarray, table: LabelTable, segmentation: Any, before: str = ""
) -> List[str]:
    """Import a label map through a colour table; return the IDs of the new segments."""
    present = _present(labels)
    if not present:
        return []
    scratch = slicer.vtkMRMLScene()
    node = scratch.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    node.SetIJKToRASMatrix(to_matrix(matrix))
    node.SetAndObserveImageData(image_from_array(labels.astype(np.uint8 if max(present) < 256 else np.int32)))
    display = scratch.AddNewNodeByClass("vtkMRMLLabelMapVolumeDisplayNode", "display")
    display.SetAndObserveColorNodeID(_color_node(scratch, table, present).GetID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    earlier = set(segment_ids(segmentation))
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(node, segmentation, before)
    return [segment_id for segment_id in segment_ids(segmentation) if segment_id not in earlier]


def _color_node(scratch: Any, table: LabelTable, values: Sequence[int]) -> Any:
    node = scratch.AddNewNodeByClass("vtkMRMLColorTableNode", "labels")
    node.SetTypeToUser()
    node.SetNumberOfColors(max(values) + 1)
    for value in values:
        node.SetColor(value, table.name_of(value), *table.color_of(value), 1.0)
    return node


def tag_segment(segmentation: Any, segment_id: str, model: str, version: str) -> None:
    """Note on a new segment which model made it, and the label that it has."""
    segment = segment_of(segmentation, segment_id)
    segment.SetTag(MODEL_TAG, model)
    segment.SetTag(VERSION_TAG, version)
    segment.SetTag(VALUE_TAG, str(segment.GetLabelValue()))
    tag_as_drawn(segmentation, segment_id)


def _value_tag(segmentation: Any, segment_id: str) -> int:
    return int(get_tag(segment_of(segmentation, segment_id), VALUE_TAG) or 0)


def _name(segmentation: Any, segment_id: str) -> str:
    return segment_of(segmentation, segment_id).GetName()


def notes_on(labels: np.ndarray, table: LabelTable, kept: Sequence[str] = ()) -> List[str]:
    """Return what the clinician should know of a label map; `kept` names corrected segments that stay beside it."""
    present = set(_present(labels))
    notes = [f"Your corrected '{name}' was kept; the new result for it was not used." for name in kept]
    absent = [n for n, value in table.values.items() if value not in present and n not in kept]
    notes += [f"The model found no '{name}'." for name in absent]
    strange = sorted(present - set(table.values.values()))
    notes += [f"The model's description has no name for label {value}." for value in strange]
    return notes


def _fingerprint(segmentation: Any, segment_id: str) -> str:
    """Return a digest of a segment's voxels and their place; the same however its label map is padded or shared."""
    image = binary_image(segmentation, segment_id, world=False)
    mask = oriented_array(image) > 0
    if not mask.any():
        return "empty"
    inside, low = crop(mask)
    digest = hashlib.sha256(np.packbits(inside).tobytes())
    digest.update(f"{inside.shape} {_place(image, low)}".encode())
    return digest.hexdigest()[:32]


def _place(image: Any, low: Sequence[int]) -> List[int]:
    """Return the place of a voxel (k, j, i from the extent's start) in tenths of a millimetre."""
    start = image.GetExtent()[::2]
    index = [start[axis] + low[2 - axis] for axis in range(3)] + [1]
    return [round(10 * float(value)) for value in (image_affine(image) @ index)[:3]]

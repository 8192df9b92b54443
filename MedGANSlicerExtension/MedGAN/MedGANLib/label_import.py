"""From a model's label map to segments, by label value through a colour table. Main thread only.

Values are never renumbered; segments drawn by hand are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import numpy as np
import slicer

from .errors import CannotProcess, WrongGrid
from .patches import Patch, crop
from .scene import Scene
from .segments import (
    BINARY,
    FINGERPRINT_TAG,
    MODEL_TAG,
    VERSION_TAG,
    LabelTable,
    Removed,
    copy_segment,
    draw_segment,
    get_tag,
    is_edited,
    label_value,
    oriented_array,
    segment_ids,
    segment_of,
    tag_segment,
)
from .volumes import affine, dimensions, image_from_array, read_on_grid, to_matrix

KEEP = "keep"
REPLACE = "replace"
EditedPolicy = Union[str, Callable[[Sequence[str]], str]]
"""KEEP, REPLACE, or a function that is given the names of edited segments and returns one of the two."""
MAX_VALUE = 65535
"""The largest label value that fits a colour table."""


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


@dataclass(frozen=True)
class Destination:
    """Where the labels of a model go.

    Attributes:
        volume: The volume that they belong to.
        table: Names and colours of the values, and the name of the model, for the tags.
        version: The model's version, for the tags.
        scene: The scene.
        segmentation: Where to put the segments; None makes a new node.
        edited: What to do with segments edited since the earlier run.
        before_change: Called once, with the segmentation, before anything changes (Segment Editor's saveStateForUndo).
    """

    volume: Any
    table: LabelTable
    version: str
    scene: Scene
    segmentation: Any = None
    edited: EditedPolicy = KEEP
    before_change: Optional[Callable[[Any], None]] = None


def place_labels(path: Union[str, Path], where: Destination, grid: Optional[np.ndarray] = None) -> Placement:
    """Put a label map file into a segmentation, one segment a label value.

    Segments of an earlier run of the same model are replaced unless they were edited (`edited` decides).

    Args:
        path: Label map file.
        where: Where they go.
        grid: Voxel to RAS matrix that the file must have; by default the volume's. The segments always go where the
            volume is now.

    Raises:
        WrongGrid: The label map is not on that grid.
        CannotProcess: It holds values that cannot be labels.
    """
    place = affine(where.volume)
    patch = read_labels(path, where.volume, place if grid is None else grid)
    return place_array(patch.array, patch.matrix(place), where)


def place_array(labels: np.ndarray, matrix: np.ndarray, where: Destination) -> Placement:
    """Do what `place_labels` does with a label map (k, j, i) and its matrix to RAS in the scene."""
    created, model = where.segmentation is None, where.table.model
    target = _new_segmentation(where.volume, where.scene) if created else where.segmentation
    if where.before_change and not created:
        where.before_change(target)
    kept, replaced = _sort_earlier(target, model, where.edited)
    labels = _without(labels, [label_value(target, segment_id) for segment_id in kept])
    removed = tuple(_take_out(target, segment_id) for segment_id in replaced)
    added = import_labels(labels, matrix, where.table, target, before=kept[0] if kept else "")
    for segment_id in added:
        tag_segment(target, segment_id, model, where.version)
    notes = notes_on(labels, where.table, [_name(target, segment_id) for segment_id in kept])
    return Placement(target, tuple(added), removed, created, tuple(notes), tuple(kept))


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

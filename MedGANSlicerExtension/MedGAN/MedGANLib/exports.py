"""From corrected segments to the label map that is submitted. Main thread only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import slicer

from .errors import NothingToSubmit
from .segments import (
    MODEL_TAG,
    VALUE_TAG,
    LabelTable,
    binary_image,
    get_tag,
    image_affine,
    oriented_array,
    segment_ids,
    segment_of,
)
from .volumes import affine, dimensions, flip_slices, image_from_array, to_matrix, write_node


@dataclass(frozen=True)
class LabelExport:
    """A label map ready to be sent, with its voxel counts by value and remarks for the user."""

    path: Path
    voxels: Mapping[int, int]
    warnings: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = ()


@dataclass
class LabelMap:
    """A label map (k, j, i) on a volume's grid, voxels by value, warnings (look again) and notes (for information)."""

    array: np.ndarray
    counts: Dict[int, int] = field(default_factory=dict)
    warnings: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)


def export_labels(
    segmentation: Any,
    volume: Any,
    table: LabelTable,
    path: Union[str, Path],
    grid: Optional[np.ndarray] = None,
    flipped: bool = False,
) -> LabelExport:
    """Write the segments that carry a label of `table` as a label map on the volume's grid.

    Args:
        segmentation: The segmentation node.
        volume: The volume whose grid the label map gets.
        table: Names and values of the labels.
        path: File to write.
        grid: Voxel to RAS matrix to write; by default where the volume is now.
        flipped: Whether to count the slices from the other end, as the image's file does.

    Raises:
        NothingToSubmit: No voxel of the volume carries a label of the table.
    """
    labels = label_map(segmentation, volume, table)
    write_labels(labels.array, affine(volume) if grid is None else grid, path, flipped)
    return LabelExport(Path(path), labels.counts, tuple(labels.warnings), tuple(labels.notes))


def write_labels(array: np.ndarray, matrix: np.ndarray, path: Union[str, Path], flipped: bool = False) -> None:
    """Write a label map (k, j, i) with its voxel to RAS matrix; `flipped` counts its slices from the other end."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetIJKToRASMatrix(to_matrix(flip_slices(matrix, len(array)) if flipped else matrix))
    node.SetAndObserveImageData(image_from_array(array[::-1] if flipped else array))
    write_node(node, path, compress=True)


def label_map(
    segmentation: Any, volume: Any, table: LabelTable, chosen: Optional[Sequence[Tuple[str, int]]] = None
) -> LabelMap:
    """Return the label map of the segments that carry a label of `table`.

    A segment's label is the one that it is named after, or else the one that the model gave it. Others
    ("background" …) are left out with a note. Where segments overlap the later one wins, with a warning; labels
    without voxels are warned about.

    Args:
        segmentation: The segmentation node.
        volume: The volume whose grid the label map gets.
        table: Names and values of the labels.
        chosen: (segment ID, label value) of the segments to take, in place of looking at names.

    Raises:
        NothingToSubmit: No voxel of the volume carries a label of the table.
    """
    largest = max(table.values.values(), default=0)
    result = LabelMap(np.zeros(dimensions(volume)[::-1], np.uint8 if largest < 256 else np.uint16))
    for segment_id, value in _choose(segmentation, table, result) if chosen is None else chosen:
        _paint(result, binary_image(segmentation, segment_id, world=True), volume, value, table)
    result.counts = {v: int(n) for v, n in enumerate(np.bincount(result.array[result.array > 0])) if n}
    if not result.counts:
        raise _nothing(table)
    absent = [name for name, value in table.values.items() if value not in result.counts]
    result.warnings += [f"'{name}' has no voxels; it will be learned as absent." for name in absent]
    return result


def paint_segments(segmentation: Any, volume: Any, table: LabelTable, chosen: Sequence[Tuple[str, int]]) -> np.ndarray:
    """Return the label map (k, j, i) of the segments in `chosen`, (ID, label value), on a volume's grid."""
    largest = max((value for _, value in chosen), default=0)
    result = LabelMap(np.zeros(dimensions(volume)[::-1], np.uint8 if largest < 256 else np.uint16))
    for segment_id, value in chosen:
        _paint(result, binary_image(segmentation, segment_id, world=True), volume, value, table)
    return result.array


def _choose(segmentation: Any, table: LabelTable, result: LabelMap) -> List[Tuple[str, int]]:
    """Return (ID, label value) of the segments that are submitted, in order; the rest is noted."""
    chosen: List[Tuple[str, int]] = []
    ignored = []
    for segment_id in segment_ids(segmentation) if segmentation else ():
        segment = segment_of(segmentation, segment_id)
        value = _value_of(segment, table, result)
        if value is None:
            ignored.append(f"'{segment.GetName()}'")
        else:
            chosen.append((segment_id, value))
    if ignored:
        result.notes.append(f"Not submitted, because the model has no such label: {', '.join(ignored)}.")
    result.notes += _joined(chosen, table)
    return chosen


def _joined(chosen: Sequence[Tuple[str, int]], table: LabelTable) -> List[str]:
    counts: Dict[int, int] = {}
    for _, value in chosen:
        counts[value] = counts.get(value, 0) + 1
    return [f"{n} segments are '{table.name_of(value)}'; they were joined." for value, n in counts.items() if n > 1]


def _value_of(segment: Any, table: LabelTable, result: LabelMap) -> Optional[int]:
    """Return a segment's label value. Its name, which the clinician sees, goes before the model's tag."""
    named = table.value_named(segment.GetName())
    tagged = _tagged_value(segment, table)
    if named is not None and tagged is not None and named != tagged:
        result.warnings.append(
            f"A segment was renamed from '{table.name_of(tagged)}' to '{table.name_of(named)}'; the new name counts."
        )
    return tagged if named is None else named


def _tagged_value(segment: Any, table: LabelTable) -> Optional[int]:
    text = get_tag(segment, VALUE_TAG)
    if not text or get_tag(segment, MODEL_TAG) != table.model:
        return None
    return int(text) if int(text) in table.values.values() else None


def _paint(result: LabelMap, segment: Any, volume: Any, value: int, table: LabelTable) -> None:
    """Paint a segment's image, in the world, into the label map, within the box that it can reach."""
    box = _box(segment, volume)
    if not oriented_array(segment).size or any(first > last for first, last in box):
        return  # the segment has no voxels, or lies outside
    mask = _resampled(segment, volume, box)
    target = result.array[tuple(slice(first, last + 1) for first, last in reversed(box))]
    hidden = target[mask & (target != value)]
    for other in np.flatnonzero(np.bincount(hidden, minlength=1)[1:]) + 1:
        count = int((hidden == other).sum())
        names = f"'{table.name_of(value)}' and '{table.name_of(int(other))}'"
        result.warnings.append(f"{names} overlap in {count} voxels; '{table.name_of(value)}' was used there.")
    target[mask] = value


def _box(segment: Any, volume: Any) -> List[Tuple[int, int]]:
    """Return first and last index along i, j and k of the part of the volume's grid that a segment can reach."""
    bounds = np.array(segment.GetExtent()).reshape(3, 2) + np.array([-0.5, 0.5])
    corners = np.array([[*corner, 1.0] for corner in product(*bounds)])
    to_grid = np.linalg.inv(affine(volume)) @ image_affine(segment)
    places = (corners @ to_grid.T)[:, :3]
    first = np.maximum(np.floor(places.min(axis=0)), 0).astype(int)
    last = np.minimum(np.ceil(places.max(axis=0)).astype(int), np.array(dimensions(volume)) - 1)
    return [(int(first[axis]), int(last[axis])) for axis in range(3)]


def _resampled(segment: Any, volume: Any, box: Sequence[Tuple[int, int]]) -> np.ndarray:
    """Return where a segment is, (k, j, i) within a box of the volume's grid, by the nearest voxel."""
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent([index for ends in box for index in ends])
    reference.SetImageToWorldMatrix(to_matrix(affine(volume)))
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(segment, reference, resampled)
    return oriented_array(resampled) > 0


def _nothing(table: LabelTable) -> NothingToSubmit:
    names = ", ".join(f"'{name}'" for name in table.values)
    return NothingToSubmit(
        "No segment with one of the model's labels lies in the volume.", f"Name your segments {names}."
    )

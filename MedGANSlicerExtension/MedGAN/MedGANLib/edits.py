"""What a clinician changed by hand in a model's segments, and how it outlasts the model's next answer. Main thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Sequence

import numpy as np

from .corrections import Correction
from .exports import paint_segments
from .label_import import Placement, import_labels, notes_on
from .patches import Patch
from .segments import (
    FINGERPRINT_TAG,
    VERSION_TAG,
    LabelTable,
    copy_segment,
    draw_segment,
    model_segments,
    segment_of,
    tag_as_drawn,
    tag_segment,
)
from .volumes import affine, dimensions

EDITED = "edited"
"""Fingerprint of a segment that holds voxels of the clinician's among the model's."""


@dataclass(frozen=True)
class Kept:
    """An answer of the model with the clinician's voxels in it, and how many of them differ from the answer."""

    labels: Patch
    voxels: int = 0


def keep_edits(
    answer: Patch,
    before: Patch,
    segmentation: Any,
    volume: Any,
    table: LabelTable,
    newer: Iterable[Correction] = (),
) -> Kept:
    """Put every voxel that was changed by hand since the model's last answer into its new one.

    A segment that was removed altogether is no edit: the new answer may bring it back.

    Args:
        answer: The new answer.
        before: The last one, as the model gave it.
        segmentation: What became of that.
        volume: The volume that both belong to.
        table: Names and values of the labels.
        newer: Corrections that were clicked since; their voxels are not the hand's any more.
    """
    shape = dimensions(volume)[::-1]
    if not (before.fits(shape) and answer.fits(shape)):
        return Kept(answer)
    present = model_segments(segmentation, table.model)
    then, new = before.whole(shape), answer.whole(shape)
    now = paint_segments(segmentation, volume, table, [(segment_id, value) for value, segment_id in present.items()])
    by_hand = (now != then) & ((then == 0) | np.isin(then, list(present)))
    for i, j, k in (voxel for item in newer for voxel in item.voxels):
        by_hand[_index(k, shape[0]), _index(j, shape[1]), _index(i, shape[2])] = False
    count = int(np.count_nonzero(by_hand & (now != new)))
    return Kept(Patch.cut(np.where(by_hand, now, new).astype(new.dtype)), count)


def redraw(kept: Kept, answer: Patch, segmentation: Any, volume: Any, table: LabelTable, version: str) -> Placement:
    """Repair the model's segments in place: they keep their IDs, names and looks; labels that are new are added.

    Args:
        kept: What to draw; see `keep_edits`.
        answer: What the model said, to tell the clinician's voxels by the next time.
        segmentation: Where its segments are.
        volume: The volume.
        table: Names and values of the labels.
        version: The model's version, for the tags.
    """
    present, matrix = model_segments(segmentation, table.model), kept.labels.matrix(affine(volume))
    redrawn = tuple(copy_segment(segmentation, segment_id) for segment_id in present.values())
    for value, segment_id in present.items():
        draw_segment(segmentation, segment_id, kept.labels.array == value, matrix)
        segment_of(segmentation, segment_id).SetTag(VERSION_TAG, version)
        tag_as_drawn(segmentation, segment_id)
    fresh = np.where(np.isin(kept.labels.array, list(present)), 0, kept.labels.array)
    added = import_labels(fresh, matrix, table, segmentation)
    for segment_id in added:
        tag_segment(segmentation, segment_id, table.model, version)
    _mark_edited(kept, answer, segmentation, volume, model_segments(segmentation, table.model))
    notes = notes_on(kept.labels.array, table)
    return Placement(segmentation, tuple(added), notes=tuple(notes), redrawn=redrawn)


def _mark_edited(kept: Kept, answer: Patch, segmentation: Any, volume: Any, present: Dict[int, str]) -> None:
    """Let segments with voxels of the clinician's count as corrected, so that no run replaces them unasked."""
    if not kept.voxels:
        return
    shape = dimensions(volume)[::-1]
    drawn, said = kept.labels.whole(shape), answer.whole(shape)
    for value in _values_apart(drawn, said):
        if value in present:
            segment_of(segmentation, present[value]).SetTag(FINGERPRINT_TAG, EDITED)


def _values_apart(one: np.ndarray, other: np.ndarray) -> Sequence[int]:
    apart = one != other
    return [int(value) for value in np.unique(np.concatenate([one[apart], other[apart]])) if value]


def _index(value: float, count: int) -> int:
    return min(max(round(value), 0), count - 1)


def smallest(patch: Patch) -> Patch:
    """Return the same labels in the smallest type that holds them, to be kept for long."""
    kind = np.uint8 if int(patch.array.max()) < 256 else np.uint16
    return Patch(np.ascontiguousarray(patch.array, dtype=kind), patch.first)

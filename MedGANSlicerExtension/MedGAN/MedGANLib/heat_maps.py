"""What one detection left in the scene: its heat map and the segment that it is turned into. Main thread only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Tuple

import numpy as np

from .detections import Detection
from .findings import Box, hot
from .label_import import KEEP, Placement, place_array
from .placing import remove_nodes
from .runs import BeforeChange, Stage
from .scene import Scene
from .segments import (
    BINARY,
    MODEL_TAG,
    LabelTable,
    draw_segment,
    get_tag,
    is_edited,
    segment_ids,
    segment_of,
    tag_as_drawn,
)
from .volumes import affine


@dataclass
class HeatMap:
    """What one run left in the scene.

    Attributes:
        record: What is told of it.
        scene: The scene.
        volume: What it ran on.
        table: Name and colour of the segment.
        array: The heat (k, j, i).
        colors: The node of its colours.
        placement: What it changed in the segmentation.
        drawn: Time stamp of the segment's voxels when they were last drawn.
    """

    record: Detection
    scene: Scene
    volume: Any
    table: LabelTable
    array: np.ndarray
    colors: Any
    placement: Placement
    drawn: int = 0

    @property
    def matrix(self) -> np.ndarray:
        """4x4, from voxel indices (i, j, k) to RAS millimetres, where the heat map is now.

        Raises:
            TransformedVolume: It is under a non-linear transform.
        """
        return affine(self.scene.node(self.record.heat))

    def move(self, threshold: float) -> None:
        """Draw the segment anew for another threshold, unless the clinician has corrected it."""
        own = self._own()
        corrected = self._is_corrected(own) if own else self._kept()
        if not corrected:
            self._draw(hot(self.array, threshold), own)
        place = self.placement.segmentation.GetID()
        self.record = replace(self.record, threshold=threshold, corrected=corrected, segmentation=place)

    def settle(self) -> None:
        """Note that the segment is as the heat map makes it; called when the threshold rests."""
        own = self._own()
        if own and not self._is_corrected(own):
            tag_as_drawn(self.placement.segmentation, own)

    def undo(self, before_change: BeforeChange = None) -> Tuple[str, ...]:
        """Take heat map and segment out of the scene; return the names of segments whose corrections went with it."""
        own, segmentation = self._own(), self.placement.segmentation
        lost = (segment_of(segmentation, own).GetName(),) if own and self._is_corrected(own) else ()
        if self.scene.has(segmentation):
            if before_change:
                before_change(segmentation)
            helpers = (segmentation.GetDisplayNode(), segmentation.GetStorageNode())
            self.placement.undo(self.scene)
            if not self.scene.has(segmentation):
                for helper in helpers:
                    self.scene.remove(helper)
        remove_nodes([self.scene.node(self.record.heat)], self.scene)
        self.scene.remove(self.colors)
        return lost

    def _own(self) -> str:
        """Return the ID of the segment that was drawn; empty when there is none, or when it was removed."""
        segmentation = self.placement.segmentation
        there = segment_ids(segmentation) if self.scene.has(segmentation) else []
        return next((segment_id for segment_id in self.placement.added if segment_id in there), "")

    def _kept(self) -> bool:
        """Whether a corrected segment of an earlier run stands in the place of this one's."""
        segmentation, model = self.placement.segmentation, self.record.model.name
        there = segment_ids(segmentation) if self.scene.has(segmentation) else []
        return any(get_tag(segment_of(segmentation, i), MODEL_TAG) == model for i in there)

    def _is_corrected(self, segment_id: str) -> bool:
        if self._stamp(segment_id) == self.drawn:
            return False
        return is_edited(self.placement.segmentation, segment_id)

    def _draw(self, box: Box, own: str) -> None:
        if own:
            draw_segment(self.placement.segmentation, own, box.mask, box.matrix(self.matrix))
        elif box.mask.size:
            self._add(box)
        own = own or self._own()
        self.drawn = self._stamp(own) if own else 0

    def _add(self, box: Box) -> None:
        """Draw the segment for the first time, or again after the clinician removed it."""
        there = self.scene.has(self.placement.segmentation)
        stage = Stage(self.scene, self.volume, self.placement.segmentation if there else None, self.matrix, KEEP)
        fresh = draw_first(box, stage, self.matrix, self.record.version, self.table)
        if there:
            self.placement.added += fresh.added
        else:
            self.placement = fresh

    def _stamp(self, segment_id: str) -> int:
        image = segment_of(self.placement.segmentation, segment_id).GetRepresentation(BINARY)
        return int(image.GetMTime()) if image else -1


def draw_first(box: Box, stage: Stage, matrix: np.ndarray, version: str, table: LabelTable) -> Placement:
    """Draw the segment, as the label of the model that it is; nothing is drawn when no voxel is hot."""
    value = next(iter(table.values.values()))
    labels = box.mask.astype(np.int32) * value if box.mask.size else np.zeros((1, 1, 1), np.int32)
    placement = place_array(labels, box.matrix(matrix), stage.destination(table, version, stage.before_change))
    for segment_id in placement.added:
        _outline(placement.segmentation, segment_id)
    return placement


def _outline(segmentation: Any, segment_id: str) -> None:
    """Draw only the outline of a segment, so that it does not cover the colours of its heat."""
    if segmentation.GetDisplayNode():
        segmentation.GetDisplayNode().SetSegmentVisibility2DFill(segment_id, False)

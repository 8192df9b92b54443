"""Segmentation nodes and label maps, by label value through a colour table. Main thread only.

A label is its integer value and its name. Values are never renumbered; segments drawn by hand are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from .records import Color
from .scene import Scene

MODEL_TAG = "MedGAN.Model"
VERSION_TAG = "MedGAN.Version"
VALUE_TAG = "MedGAN.LabelValue"
FINGERPRINT_TAG = "MedGAN.Fingerprint"
"""Tags of the segments that a model made; the fingerprint tells whether they were edited since."""

KEEP = "keep"
REPLACE = "replace"
EditedPolicy = Union[str, Callable[[Sequence[str]], str]]
"""KEEP, REPLACE, or a function that is given the names of edited segments and returns one of the two."""


@dataclass(frozen=True)
class LabelTable:
    """The colour table of a model: name -> value and name -> colour."""

    values: Mapping[str, int]
    colors: Mapping[str, Color]

    def name_of(self, value: int) -> str:
        """Return the name of a value; `label 7` when the table has none."""
        raise NotImplementedError


@dataclass
class Placement:
    """What a run changed in a segmentation, enough to undo it in one step."""

    segmentation: Any
    added: Tuple[str, ...] = ()
    """IDs of the segments added."""
    notes: Tuple[str, ...] = ()
    """What the clinician should know: kept corrections, labels that are absent, values without a name."""

    def undo(self, scene: Scene) -> None:
        """Take the added segments out and put the replaced ones back; other segments and edits to them stay."""
        raise NotImplementedError


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
) -> Placement:
    """Put a label map into a segmentation, one segment a label value.

    Segments of an earlier run of the same model are replaced unless they were edited (`edited` decides).

    Args:
        path: Label map file.
        volume: The volume it belongs to; its grid must be that of the file.
        table: Names and colours of the values.
        model: Name of the model, for the tags.
        version: Its version, for the tags.
        scene: The scene.
        segmentation: Where to put the segments; None makes a new node.
        edited: What to do with segments edited since the earlier run.
        before_change: Called once, with the segmentation, before anything changes (Segment Editor's saveStateForUndo).

    Raises:
        WrongGrid: The label map is not on the volume's grid.
    """
    raise NotImplementedError


def is_edited(segmentation: Any, segment_id: str) -> bool:
    """Whether a model's segment was changed since it was placed."""
    raise NotImplementedError


@dataclass(frozen=True)
class LabelExport:
    """A label map ready to be sent, with its voxel counts by value and remarks for the user."""

    path: Path
    voxels: Mapping[int, int]
    warnings: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = ()


def label_array(segmentation: Any, volume: Any, table: LabelTable) -> Tuple[np.ndarray, List[str], List[str]]:
    """Return the label map (k, j, i) on the volume's grid, warnings and notes; see `export_labels`."""
    raise NotImplementedError


def export_labels(
    segmentation: Any, volume: Any, table: LabelTable, path: Union[str, Path], scene: Scene
) -> LabelExport:
    """Write the segments that carry a label of `table` as a label map on the volume's grid.

    A segment's label is its tag, or else its name. Others ("background" …) are left out with a note. Where segments
    overlap the later one wins, with a warning; labels without voxels are warned about.

    Raises:
        NothingToSubmit: No segment carries a label of the table.
    """
    raise NotImplementedError

"""What tests of segments work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from MedGANLib.exports import label_map
from MedGANLib.label_import import Destination, Placement, place_labels
from MedGANLib.scene import Scene
from MedGANLib.segments import LabelTable

from .scenes import (
    SHAPE,
    TABLE,
    add_volume,
    write_labels,
)


class Bench:
    """A volume, its label map file, and the calls that every test makes."""

    def __init__(self, scene: Scene, folder: Path, matrix: np.ndarray) -> None:
        self.scene = scene
        self.folder = folder
        self.volume = add_volume(scene, matrix)
        self.matrix = matrix

    def place(self, array: np.ndarray, segmentation: Any = None, version: str = "v1", **more: Any) -> Placement:
        path = write_labels(self.folder / "result.nrrd", array, more.pop("file_matrix", self.matrix))
        table = more.pop("table", TABLE)
        grid = more.pop("grid", None)
        where = Destination(self.volume, table, version, self.scene, segmentation, **more)
        return place_labels(path, where, grid)

    def exported(self, segmentation: Any, table: LabelTable = TABLE) -> np.ndarray:
        return label_map(segmentation, self.volume, table).array


def manual_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 1:6, 2:5] = 1
    return mask

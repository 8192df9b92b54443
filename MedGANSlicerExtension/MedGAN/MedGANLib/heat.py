"""From what an anomaly model gave to a heat map in the scene: checks, name, mark and colours. Main thread only."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np

from .calibrations import Calibration
from .detections import Detection
from .errors import CannotProcess, MedGANError, WrongGrid
from .findings import find, hot
from .heat_maps import HeatMap, draw_first
from .label_import import Placement
from .marks import mark_heat, save_with_marks
from .placing import remove_nodes
from .records import InferResult, ModelInfo, ResultPart
from .runs import Stage, label_table
from .scene import Scene
from .segments import LabelTable, segment_of
from .volumes import affine, dimensions, flip_slices, load_volume, same_affine, voxels

HEAT, LABEL = "heatmap", "label"
ANOMALY = "anomaly"
COLORS = (
    (0.42, 0.09, 0.43),
    (0.55, 0.14, 0.41),
    (0.69, 0.19, 0.36),
    (0.81, 0.27, 0.28),
    (0.91, 0.37, 0.18),
    (0.97, 0.51, 0.07),
    (0.99, 0.67, 0.06),
    (0.97, 0.84, 0.26),
    (0.96, 0.98, 0.57),
)
"""From little heat to much: matplotlib's `inferno` from 0.3 on. Equal steps look equal, also to colour-blind eyes."""
SHADES = 256


def place_heat(result: InferResult, model: ModelInfo, stage: Stage) -> HeatMap:
    """Put a result into the scene: the heat map over the volume, and the segment that it is turned into; or nothing.

    Raises:
        MedGANError: There is no heat map, it cannot be used, or it lies elsewhere; the scene is as before.
    """
    parts = {part.name: part for part in result.parts}
    if HEAT not in parts:
        raise CannotProcess("The model gave no heat map.", "Tell the administrator.")
    known = Calibration.from_json(result.params.get("anomaly"))
    node = load_volume(parts[HEAT].path, _name(stage.volume, model, result.version), stage.scene)
    try:
        _check(node, stage.volume)
        array, matrix = voxels(node), affine(node)
        table = _table(model, parts.get(LABEL))
        placement = draw_first(hot(array, known.threshold), stage, matrix, result.version, table)
    except MedGANError:
        remove_nodes([node], stage.scene)
        raise
    mark_heat(node, model.name, result.version)
    save_with_marks(node)
    largest = float(array.max())
    record = Detection(
        model=model,
        version=result.version,
        volume=stage.volume.GetID(),
        heat=node.GetID(),
        segmentation=placement.segmentation.GetID(),
        calibration=known,
        largest=largest,
        threshold=known.threshold,
        findings=find(array, known.threshold, matrix),
        corrected=bool(placement.kept),
        warnings=(*result.warnings, *_kept_notes(placement)),
    )
    colors = _color(node, max(largest, known.threshold), stage.scene)
    return HeatMap(record, stage.scene, stage.volume, table, array, colors, placement)


def _name(volume: Any, model: ModelInfo, version: str) -> str:
    by = " ".join(word for word in (model.title, version) if word)
    return f"{volume.GetName()} – {by}, heat"


def _table(model: ModelInfo, part: Optional[ResultPart]) -> LabelTable:
    table = label_table(model, part)
    return table if table.values else LabelTable({ANOMALY: 1}, table.colors, table.model)


def _kept_notes(placement: Placement) -> Tuple[str, ...]:
    names = [segment_of(placement.segmentation, segment_id).GetName() for segment_id in placement.kept]
    return tuple(f"Your corrected '{name}' was kept; the new result for it was not used." for name in names)


def _check(node: Any, volume: Any) -> None:
    """Refuse a map that is not on the volume's grid (its slices may be counted the other way), or that is no map."""
    size, here, there = dimensions(volume), affine(node), affine(volume)
    fits = dimensions(node) == size
    if not fits or not any(same_affine(matrix, there, size) for matrix in (here, flip_slices(here, size[2]))):
        raise WrongGrid(
            f"The heat map does not lie on the grid of '{volume.GetName()}'; it was not shown.",
            "Run the model again; if it happens again, tell the administrator.",
        )
    if not np.isfinite(voxels(node)).all():
        raise CannotProcess("The heat map has values that are no numbers.", "Tell the administrator.")


def _color(node: Any, largest: float, scene: Scene) -> Any:
    """Show a heat map in colours from nothing to its largest heat, voxel by voxel; return the node of the colours."""
    colors = scene.mrml.AddNewNodeByClass("vtkMRMLColorTableNode", f"{node.GetName()} colours")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(SHADES)
    for index, color in enumerate(shades()):
        colors.SetColor(index, f"{index}", *color, 1.0)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, largest or 1.0)
    display.SetInterpolate(False)
    return colors


def shades(count: int = SHADES) -> np.ndarray:
    """Return RGB colours in 0…1, from little heat to much."""
    places = np.linspace(0, len(COLORS) - 1, count)
    return np.stack([np.interp(places, range(len(COLORS)), channel) for channel in np.array(COLORS).T], axis=1)

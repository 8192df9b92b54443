"""What a run of a model puts into the scene, and how it is taken out again in one step. Main thread only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, List, Optional, Tuple

import numpy as np

from .corrections import Correction
from .edits import keep_edits, redraw, smallest
from .errors import MedGANError
from .label_import import Destination, EditedPolicy, Placement, place_array, read_labels
from .patches import Patch
from .records import InferResult, ModelInfo, ResultPart
from .reviews import Quality
from .scene import Scene
from .segments import LabelTable, is_edited, segment_of
from .state import RunOutcome
from .volumes import add_result, affine

BeforeChange = Optional[Callable[[Any], None]]


@dataclass
class Run:
    """One run's traces in the scene; `clicks` are the corrections that it had, `kept` the voxels of hand edits."""

    volume: Any
    model: str = ""
    placements: List[Placement] = field(default_factory=list)
    volumes: List[Any] = field(default_factory=list)
    clicks: Tuple[Correction, ...] = ()
    kept: int = 0

    def undo(self, scene: Scene, before_change: BeforeChange = None) -> Tuple[str, ...]:
        """Take the run out of the scene; return the names of segments whose corrections went with it."""
        lost: List[str] = []
        for placement in reversed(self.placements):
            if not scene.has(placement.segmentation):
                continue
            lost += _edited_names(placement)
            if before_change:
                before_change(placement.segmentation)
            placement.undo(scene)
        for volume in self.volumes:
            scene.remove(volume)
        return tuple(lost)


@dataclass
class Stage:
    """Where a result goes.

    Attributes:
        scene: The scene.
        volume: The volume that the model ran on.
        segmentation: Where segments go; None makes a new node.
        grid: Voxel to RAS matrix of the volume as the server has it.
        edited, before_change: See `Destination`.
        clicks: Corrections that the run carries.
        earlier: The run whose segments this one repairs in place, hand edits kept; None for any other run.
    """

    scene: Scene
    volume: Any
    segmentation: Any
    grid: np.ndarray
    edited: EditedPolicy
    before_change: BeforeChange = None
    clicks: Tuple[Correction, ...] = ()
    earlier: Optional[Run] = None

    def destination(self, table: LabelTable, version: str, before_change: BeforeChange) -> Destination:
        """Return where the labels of a model's version go."""
        return Destination(
            self.volume, table, version, self.scene, self.segmentation, self.edited, before_change=before_change
        )


def show_result(result: InferResult, model: ModelInfo, stage: Stage) -> Tuple[RunOutcome, Run]:
    """Put all parts of a result into the scene, or none of them.

    Raises:
        MedGANError: A part cannot be shown; the scene is as before.
    """
    run = Run(stage.volume, model.name, clicks=stage.clicks)
    try:
        for part in result.parts:
            _show_part(part, result, model, stage, run)
    except MedGANError:
        run.undo(stage.scene)
        raise
    return _outcome(result, run), run


def label_table(model: ModelInfo, part: Optional[ResultPart] = None) -> LabelTable:
    """Return the colour table of a model; what the result itself says goes before the model's description."""
    labels = {name: value for name, value in (part.labels if part else {}).items() if value}
    colors = {**model.colors, **(part.colors if part else {})}
    return LabelTable(labels or model.labels, colors, model.name)


def _show_part(part: ResultPart, result: InferResult, model: ModelInfo, stage: Stage, run: Run) -> None:
    if _is_labels(part, result, model):
        run.placements.append(_place(part, result, model, stage, run))
        return
    name = f"{stage.volume.GetName()} {part.name}"
    volume = add_result(part.path, name, model.name, result.version, stage.scene)
    run.volumes.append(volume)


def _is_labels(part: ResultPart, result: InferResult, model: ModelInfo) -> bool:
    """Whether a part is a label map; a stock server does not say it of a single file, so the model does."""
    return model.output == "labelmap" if len(result.parts) == 1 else part.kind == "labelmap"


def _place(part: ResultPart, result: InferResult, model: ModelInfo, stage: Stage, run: Run) -> Placement:
    """Place one label map; Segment Editor's state is saved once for a run, however many parts it has."""
    hook, table = None if run.placements else stage.before_change, label_table(model, part)
    answer = smallest(read_labels(part.path, stage.volume, stage.grid))
    before = _answer_before(stage)
    if before is None:
        matrix = answer.matrix(affine(stage.volume))
        placement = place_array(answer.array, matrix, stage.destination(table, result.version, hook))
    else:
        placement = _repair(answer, before, table, result.version, stage, run, hook)
    placement.answer = answer
    stage.segmentation = placement.segmentation
    return placement


def _answer_before(stage: Stage) -> Optional[Patch]:
    """Return what the model said in the run that is to be repaired, if its segments are still there."""
    placements = stage.earlier.placements if stage.earlier and stage.segmentation else ()
    return next((p.answer for p in placements if p.segmentation is stage.segmentation), None)


def _repair(
    answer: Patch, before: Patch, table: LabelTable, version: str, stage: Stage, run: Run, hook: BeforeChange
) -> Placement:
    if hook:
        hook(stage.segmentation)
    known = stage.earlier.clicks if stage.earlier else ()
    newer = [click for click in stage.clicks if click not in known]
    kept = keep_edits(answer, before, stage.segmentation, stage.volume, table, newer)
    run.kept += kept.voxels
    return redraw(kept, answer, stage.segmentation, stage.volume, table, version)


def _outcome(result: InferResult, run: Run) -> RunOutcome:
    notes = tuple(note for placement in run.placements for note in placement.notes)
    outcome = RunOutcome(
        model=result.model,
        version=result.version,
        volume_ids=tuple(volume.GetID() for volume in run.volumes),
        warnings=(*result.warnings, *notes),
        latencies=result.latencies,
        quality=Quality.from_params(result.params),
        kept_voxels=run.kept,
    )
    if not run.placements:
        return outcome
    added = tuple(segment_id for placement in run.placements for segment_id in _segments_of(placement))
    return replace(outcome, segmentation_id=run.placements[0].segmentation.GetID(), segment_ids=added)


def _segments_of(placement: Placement) -> Tuple[str, ...]:
    return (*[earlier.segment_id for earlier in placement.redrawn], *placement.added)


def _edited_names(placement: Placement) -> List[str]:
    present = [i for i in _segments_of(placement) if segment_of(placement.segmentation, i) is not None]
    edited = [i for i in present if is_edited(placement.segmentation, i)]
    return [segment_of(placement.segmentation, i).GetName() for i in edited]

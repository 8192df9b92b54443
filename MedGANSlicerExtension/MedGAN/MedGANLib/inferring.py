"""Running models on studies, and undoing it."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from .downloads import unpack_parts
from .errors import NotFound, SceneProblem
from .jobs import Job, Tidy, Work
from .label_import import KEEP, EditedPolicy
from .markups import points_option, roi_option
from .records import InferResult, ModelInfo
from .runs import BeforeChange, Run, Stage, show_result
from .state import RunOutcome, counted
from .studying import Studying
from .volumes import SEGMENTATION, affine, check_sendable, forget_if_changed, known_id, server_affine

KEPT_RUNS = 16
"""How many runs can be undone; more would fill the memory with copies of segments."""


class Inferring(Studying):
    """Sends what a model needs, shows what it gives, and remembers how to undo it."""

    def __init__(self, *args: Any, edited: EditedPolicy = KEEP, before_change: BeforeChange = None) -> None:
        super().__init__(*args)
        self.edited = edited
        self._before_change = before_change
        self._runs: List[Run] = []  # the newest last, KEPT_RUNS at most

    def run_model(
        self,
        model: str,
        volume: Any = None,
        options: Optional[Mapping[str, Any]] = None,
        *,
        points: Any = None,
        roi: Any = None,
        segmentation: Any = None,
    ) -> Job:
        """Run a model on the active study, or on `volume`; segments and images appear in place. Result: `RunOutcome`.

        A study that came from the server is not sent again; any other volume is sent after consent.

        Args:
            model: The model's name.
            volume: A volume node; by default the active study's.
            options: Options by the model's schema.
            points: A markups fiducial node, for the option marked `points`.
            roi: A markups ROI node, for the option marked `roi`.
            segmentation: Where segments go; by default the study's own segmentation, made when needed.
        """
        begun = time.monotonic()
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            description, stage = self._study_model(model), self._stage(volume, segmentation)
            context.update(model=description, stage=stage)
            asked = {**(options or {}), **self._placed(description, stage, points, roi)}
            return self._inference(description, stage.volume, asked)

        def finish(result: InferResult) -> RunOutcome:
            try:
                job.token.raise_if_cancelled()
                return self._show(result, context["model"], context["stage"], begun)
            finally:
                for part in result.parts:
                    part.path.unlink()

        job = self._start("Running the model", prepare, finish)
        return job

    def undo_last(self) -> bool:
        """Undo the last run in one step; return False when there is none. Earlier runs can be undone in turn."""
        if not self._runs:
            return False
        lost = self._runs.pop().undo(self._scene, self._before_change)
        details = [f"Your corrections of '{name}' went with it." for name in lost]
        self._update(can_undo=bool(self._runs), last_result=None)
        if self._scene.has(self._active):
            self._activate(self._active)
        self._say("warning" if lost else "info", "The last run was undone.", details=details)
        return True

    def forget_scene(self) -> None:
        """Let go of the study and of what could be undone; called by itself when the scene is closed."""
        self._runs.clear()
        self.state.can_undo = False
        super().forget_scene()

    def _study_model(self, name: str) -> ModelInfo:
        model = self._model(name)
        if model.reconstructs:
            raise NotFound(f"'{model.title}' makes better images.", "Run it in the section Reconstruct.")
        if model.detects:
            raise NotFound(f"'{model.title}' looks for anomalies.", "Run it in the section Detect.")
        return model

    def _stage(self, volume: Any, segmentation: Any) -> Stage:
        target = volume or self._volume()
        check_sendable(target)
        forget_if_changed(target)
        grid = server_affine(target, self._server().address)
        place = segmentation or self._segmentation(target)
        return Stage(self._scene, target, place, grid, self.edited, self._before_change)

    def _placed(self, model: ModelInfo, stage: Stage, points: Any, roi: Any) -> Dict[str, Any]:
        """Return the options that are drawn in the scene, in the coordinates of the image at the server."""
        moved = not np.array_equal(stage.grid, affine(stage.volume))
        to_server = stage.grid @ np.linalg.inv(affine(stage.volume)) if moved else None
        placed: Dict[str, Any] = {}
        for name in model.options_with_widget("points") if points else ():
            placed[name] = points_option(points, to_server)
        for name in model.options_with_widget("roi") if roi else ():
            placed[name] = roi_option(roi, to_server)
        return {name: value for name, value in placed.items() if value}

    def _inference(self, model: ModelInfo, volume: Any, options: Mapping[str, Any]) -> Work:
        client = self._server()
        image_id = known_id(volume, client.address)
        file = None if image_id else self._outgoing(volume, stored=False)
        extension = ".zip" if model.output == "both" else None

        def work(job: Job) -> InferResult:
            result = client.infer(
                model.name,
                self.folder,
                image_id=image_id,
                file=file,
                options=options,
                result_extension=extension,
                progress=job.report,
                cancel=job.token,
            )
            return unpack_parts(result, self.folder)

        return Tidy([file], work)

    def _show(self, result: InferResult, model: ModelInfo, stage: Stage, begun: float) -> RunOutcome:
        if not self._scene.has(stage.volume):
            raise SceneProblem("The volume was removed meanwhile; the result is not shown.", "Run the model again.")
        if not self._scene.has(stage.segmentation):
            stage.segmentation = None  # there was none, or it was removed while the model ran
        outcome, run = show_result(result, model, stage)
        self._runs = [*self._runs, run][-KEPT_RUNS:]
        self._remember(stage.volume, outcome.segmentation_id)
        self._update(can_undo=True, last_result=outcome)
        kind = "warning" if outcome.warnings else "success"
        text = f"{model.title}: {_found(outcome)} in {time.monotonic() - begun:.1f} s."
        self._say(kind, text, details=(*_kept_note(outcome), *outcome.warnings))
        return outcome

    def _remember(self, volume: Any, segmentation_id: str) -> None:
        """Keep volume and segmentation together; runs on the active study show in `state.study`."""
        if segmentation_id:
            volume.SetNodeReferenceID(SEGMENTATION, segmentation_id)
        if self._active is None or self._active is volume:
            self._activate(volume)


def _kept_note(outcome: RunOutcome) -> Tuple[str, ...]:
    count = outcome.kept_voxels
    return (f"What you changed by hand was kept ({counted(count, 'voxel')}).",) if count else ()


def _found(outcome: RunOutcome) -> str:
    """Return what a run gave, in words: `2 segments`, `1 image`, `nothing found`."""
    segments = counted(len(outcome.segment_ids), "segment") if outcome.segment_ids else ""
    images = counted(len(outcome.volume_ids), "image") if outcome.volume_ids else ""
    return " and ".join(part for part in (segments, images) if part) or "nothing found"

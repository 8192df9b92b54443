"""Detecting: a heat map over a study of where it is unlike healthy ones, its findings, and their undo in one step."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional

from .detections import Detection
from .errors import MedGANError, NotFound, SceneProblem
from .findings import Findings, find
from .heat import place_heat
from .heat_maps import HeatMap
from .jobs import Job, Work
from .reconstructing import FIRST, Reconstructing, chosen_inputs
from .records import InferResult, ModelInfo
from .runs import Stage
from .state import counted
from .volumes import affine


class Detecting(Reconstructing):
    """Sends a volume, shows where it is unlike healthy ones, and follows the clinician's threshold."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._heat_maps: List[HeatMap] = []
        super().__init__(*args, **more)

    def detect(self, model: str, volumes: Mapping[str, Any], options: Optional[Mapping[str, Any]] = None) -> Job:
        """Run an anomaly model; heat map and segment appear over the volume. Result: `Detection`.

        A study that came from the server is not sent again; any other volume is sent after consent.

        Args:
            model: The model's name.
            volumes: Input's name -> volume node; see `ModelInfo.input_names`. The first is the one that is looked at.
            options: Options by the model's schema.
        """
        begun = time.monotonic()
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            description = self._detection_model(model)
            context.update(model=description, inputs=chosen_inputs(description, volumes))
            return self._run_on(description, context["inputs"], dict(options or {}))

        def finish(result: InferResult) -> Detection:
            try:
                job.token.raise_if_cancelled()
                return self._show_detection(result, context["model"], context["inputs"], begun)
            finally:
                for part in result.parts:
                    part.path.unlink()

        job = self._start("Looking for anomalies", prepare, finish)
        return job

    def move_threshold(self, threshold: float) -> bool:
        """Draw the last detection's segment for another threshold, at once; return False when that cannot be done.

        Nothing is sent. A segment that the clinician has corrected is left alone. See `list_findings`.
        """
        heat_map = self._last_heat_map()
        if heat_map is None:
            return False
        segmentation = heat_map.record.segmentation
        try:
            heat_map.move(threshold)
        except MedGANError as error:
            self._tell(error)
            return False
        if heat_map.record.segmentation != segmentation:  # the clinician had removed it, so there is a new one
            self._remember(heat_map.volume, heat_map.record.segmentation)
        self._update(detection=heat_map.record)
        return True

    def list_findings(self) -> Job:
        """Look for the spots above the last detection's threshold, on a worker. Result: `Findings`."""
        title, heat_map = "Listing the findings", self._last_heat_map()
        try:
            if heat_map is None:
                raise SceneProblem("There is no heat map.", "Run an anomaly model first.")
            array, threshold, matrix = heat_map.array, heat_map.record.threshold, heat_map.matrix
        except MedGANError as error:
            return self._refuse(error, title)

        def work(job: Job) -> Findings:
            return find(array, threshold, matrix)

        def finish(findings: Findings) -> Findings:
            if heat_map in self._heat_maps and heat_map.record.threshold == findings.threshold:
                heat_map.settle()
                heat_map.record = replace(heat_map.record, findings=findings)
                self._update(detection=self._heat_maps[-1].record)
            return findings

        return self._jobs.submit(work, on_error=self._tell, title=title, finish=finish)

    def undo_detection(self) -> bool:
        """Take the last detection out of the scene in one step; return False when there is none."""
        if not self._heat_maps:
            return False
        last = self._heat_maps.pop()
        lost = last.undo(self._before_change)
        self._update(detection=self._heat_maps[-1].record if self._heat_maps else None)
        if self._scene.has(self._active):
            self._activate(self._active)
        details = [f"Your corrections of '{name}' went with it." for name in lost]
        text = f"The last result of {last.record.model.title} was taken out of the scene."
        self._say("warning" if lost else "info", text, details=details)
        return True

    def forget_scene(self) -> None:
        """Let go of the scene's nodes; called by itself when the scene is closed."""
        self._heat_maps.clear()
        self.state.detection = None
        super().forget_scene()

    def _detection_model(self, name: str) -> ModelInfo:
        model = self._model(name)
        if not model.detects:
            raise NotFound(f"'{model.title}' does not look for anomalies.", "Choose an anomaly model.")
        return model

    def _last_heat_map(self) -> Optional[HeatMap]:
        """Return the last heat map, if the clinician has not removed it."""
        last = self._heat_maps[-1] if self._heat_maps else None
        return last if last and self._scene.node(last.record.heat) is not None else None

    def _show_detection(
        self, result: InferResult, model: ModelInfo, inputs: Mapping[str, Any], begun: float
    ) -> Detection:
        self._check_there(inputs)
        volume = inputs.get(FIRST) or next(iter(inputs.values()))
        place = self._segmentation(volume)
        stage = Stage(self._scene, volume, place, affine(volume), self.edited, self._before_change)
        heat_map = place_heat(result, model, stage)
        self._heat_maps.append(heat_map)
        made = heat_map.record
        self._update(detection=made)
        self._remember(volume, made.segmentation)
        found = counted(made.findings.count, "finding") if made.findings.count else "nothing unusual found"
        text = f"{model.title}: {'much is unusual' if made.findings.crowded else found}"
        self._say(
            "warning" if made.warnings else "success",
            f"{text} in {time.monotonic() - begun:.1f} s.",
            details=made.warnings,
        )
        return made

"""Correcting a result by clicks: each click, or scribble, lets the model run again with all of them so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from .corrections import MOST_CORRECTIONS, MOST_POINTS, Correction, clicks_option, correction_at, thinned
from .errors import MedGANError, SceneProblem, ServerTooOld
from .inferring import Inferring
from .jobs import Job
from .records import ConnectionReport, ModelInfo
from .runs import Run, Stage
from .state import RunOutcome
from .volumes import affine, check_sendable, dimensions


@dataclass(frozen=True)
class Corrected:
    """What is being corrected: a model's result on a volume, and how the model is run."""

    model: str
    volume: Any
    settings: Mapping[str, Any]


class Correcting(Inferring):
    """Knows the corrections of one study and model; they go with the study, and with a run without them.

    Only one request is under way at a time: what is clicked meanwhile travels with the next one, all at once.
    """

    _corrected: Optional[Corrected] = None

    def correct(
        self,
        model: str,
        label: str,
        places: Sequence[Sequence[float]],
        volume: Any = None,
        settings: Optional[Mapping[str, Any]] = None,
    ) -> bool:
        """Say what is at a place, and let the model run again as soon as nothing else is going on.

        Args:
            model: The model whose result is wrong there.
            label: One of `ModelInfo.click_labels`.
            places: One place in RAS mm for a click, several in their order for a scribble.
            volume: A volume node; by default the active study's.
            settings: How to run the model: `options`, `points`, `roi`, `segmentation`, as for `run_model`.

        Returns:
            Whether the correction was taken; if not, `state.message` says why.
        """
        try:
            target = volume or self._volume()
            corrected = Corrected(model, target, dict(settings or {}))
            same = self._is_corrected(model, target)
            earlier = self.state.corrections if same else ()
            made = self._correction(self._model(model), label, places, target, len(earlier))
        except MedGANError as error:
            self._tell(error)
            return False
        self._corrected = corrected
        self._update(corrections=(*earlier, made))
        self._send_corrections()
        return True

    def undo_correction(self) -> bool:
        """Take the last correction back, and run the model without it; return False when there is none."""
        return self._keep_corrections(self.state.corrections[:-1])

    def clear_corrections(self) -> bool:
        """Take all corrections back, and run the model without them; return False when there is none."""
        return self._keep_corrections(())

    @property
    def corrections_wait(self) -> bool:
        """Whether the result on screen lacks a correction, or has one that was taken back."""
        corrected = self._corrected
        if corrected is None:
            return False
        last = self._last_run(corrected.model, corrected.volume)
        return self.state.corrections != (last.clicks if last else ())

    def undo_last(self) -> bool:
        """Undo the last run in one step, with the corrections that came with it; return False when there is none."""
        undone = super().undo_last()
        if undone and self._corrected is not None:
            last = self._last_run(self._corrected.model, self._corrected.volume)
            self._update(corrections=last.clicks if last else ())
        return undone

    def forget_scene(self) -> None:
        """Let go of the study and its corrections; called by itself when the scene is closed."""
        self._forget_corrections()
        super().forget_scene()

    def disconnect(self) -> None:
        """Forget the server; the scene stays."""
        self._forget_corrections()
        super().disconnect()

    def _keep_corrections(self, kept: Tuple[Correction, ...]) -> bool:
        if not self.state.corrections:
            return False
        self._update(corrections=kept)
        self._send_corrections()
        return True

    def _correction(
        self, model: ModelInfo, label: str, places: Sequence[Sequence[float]], volume: Any, count: int
    ) -> Correction:
        check_sendable(volume)
        if not model.clicks:
            raise ServerTooOld(f"'{model.title}' cannot be corrected by clicks.", "Correct it in the Segment Editor.")
        schema = model.option_properties[model.clicks]
        most = int(schema.get("maxItems") or MOST_CORRECTIONS)
        if label not in model.click_labels:
            raise SceneProblem(f"The model has no label '{label}'.", f"Labels: {', '.join(model.click_labels)}.")
        if count >= most:
            raise SceneProblem(f"There are {most} corrections, more cannot be sent.", "Use the Segment Editor.")
        few = thinned(places, MOST_POINTS)
        return correction_at(label, few, affine(volume), dimensions(volume), volume.GetName())

    def _send_corrections(self) -> None:
        """Run the model with all corrections, unless something is going on, or they are in the result already."""
        corrected = self._corrected
        if corrected is not None and self.state.job is None and self.corrections_wait:
            self.run_model(corrected.model, corrected.volume, **corrected.settings)

    def _ended(self, job: Job) -> None:
        """What was clicked meanwhile goes out; after a failure it waits, so that the reason stays readable."""
        super()._ended(job)
        self._send_corrections()

    def _placed(self, model: ModelInfo, stage: Stage, points: Any, roi: Any) -> Dict[str, Any]:
        if not self._is_corrected(model.name, stage.volume):
            self._forget_corrections()
        stage.clicks = self.state.corrections
        placed = super()._placed(model, stage, points, roi)
        return {**placed, **({model.clicks: clicks_option(stage.clicks, stage.grid)} if stage.clicks else {})}

    def _show(self, result: Any, model: ModelInfo, stage: Stage, begun: float) -> RunOutcome:
        last = self._last_run(model.name, stage.volume)
        if last is not None and (stage.clicks or last.clicks):
            stage.earlier = last
        return super()._show(result, model, stage, begun)

    def _activate(self, volume: Any) -> Any:
        if self._corrected is not None and self._corrected.volume is not volume:
            self._forget_corrections()
        return super()._activate(volume)

    def _connected(self, outcome: Tuple[Any, ConnectionReport]) -> ConnectionReport:
        before = self.state.address
        report = super()._connected(outcome)
        if self.state.address != before:
            self._forget_corrections()
        return report

    def _is_corrected(self, model: str, volume: Any) -> bool:
        corrected = self._corrected
        return corrected is not None and corrected.model == model and corrected.volume is volume

    def _forget_corrections(self) -> None:
        self._corrected = None
        if self.state.corrections:
            self._update(corrections=())

    def _last_run(self, model: str, volume: Any) -> Optional[Run]:
        """Return the last run of a model on a volume; None when there is none that could still be undone."""
        return next((run for run in reversed(self._runs) if (run.model, run.volume) == (model, volume)), None)

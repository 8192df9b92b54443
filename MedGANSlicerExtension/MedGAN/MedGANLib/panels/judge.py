"""Call the study normal or abnormal for the chosen anomaly model, and see how many are marked."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from ..records import ModelInfo
from ..verdicts import ABNORMAL, NONE, NORMAL, MarkedStudies
from ..workflow import State
from .consent import when_sent
from .inputs import InputsForm
from .look import allow, put_text, safe
from .shared import Shared

TIPS = {
    NORMAL: "Tells the server that this study shows nothing unusual; the model learns from normal studies",
    ABNORMAL: "Tells the server that this study shows something unusual; new versions are checked on such studies",
    NONE: "Takes your mark of this study back",
}


class JudgePanel:
    """Two buttons for a verdict on the whole study, one to take it back, and the counts."""

    def __init__(self, shared: Shared, inputs: InputsForm) -> None:
        """Draws into the section *Detect*; the first of `inputs` is the study that is marked."""
        self._shared = shared
        self._inputs = inputs
        self._ui = ui = shared.ui
        self._asked: Tuple[str, str] = ("", "")
        self._buttons = {NORMAL: ui.markNormalButton, ABNORMAL: ui.markAbnormalButton, NONE: ui.takeBackButton}
        ui.markNormalButton.connect("clicked()", lambda: self._mark(NORMAL))
        ui.markAbnormalButton.connect("clicked()", lambda: self._mark(ABNORMAL))
        ui.takeBackButton.connect("clicked()", lambda: self._mark(NONE))

    def show(self, state: State) -> None:
        """Draws how the study is marked, and what can be done."""
        model, volume = self._shared.detection.model, self._volume()
        self._read_once(model, state)
        self._ui.judgeFrame.setVisible(model is not None)
        if model is None:
            return
        image, verdict = self._shared.workflow.mark_of(model.name, volume)
        for kind, button in self._buttons.items():
            missing = self._missing(state, volume) or _pointless(kind, verdict)
            allow(button, not missing, TIPS[kind], missing)
        when = when_sent(self._shared.workflow.consents, state.address, stored=True)
        put_text(self._ui.verdictOfLabel, study_text(image, verdict, volume, when))
        put_text(self._ui.markedLabel, marked_text(state.marked.get(model.name)))

    def _volume(self) -> Any:
        return next(iter(self._inputs.nodes().values()), None)

    def _missing(self, state: State, volume: Any) -> str:
        if not state.connected:
            return "Connect to a server first."
        if volume is None:
            return "Choose a volume first."
        return "" if state.job is None else "Busy."

    def _read_once(self, model: Optional[ModelInfo], state: State) -> None:
        """Asks for the marks of another model or server."""
        wanted = (state.address, model.name) if model is not None and state.connected else ("", "")
        if wanted != self._asked:
            self._asked = wanted
            if model is not None and state.connected:
                self._shared.workflow.read_marks(model.name)

    def _mark(self, verdict: str) -> None:
        model = self._shared.detection.model
        if model is not None:
            self._shared.learn_with(model)
            self._shared.workflow.mark_study(model.name, verdict, self._volume())


def _pointless(kind: str, verdict: str) -> str:
    if kind != verdict:
        return ""
    return f"It is marked {kind} already." if kind else "It is not marked."


def study_text(image: str, verdict: str, volume: Any, when: str) -> str:
    """Returns how a study is marked, as rich text; `when` says whether there is a question before it is sent."""
    if volume is None:
        return ""
    name = safe(image or volume.GetName())
    if verdict:
        return f"Study <b>{name}</b> is marked <b>{verdict}</b>."
    where = "" if image else f" Marking it adds it to the server's studies, {when}."
    return f"Study <b>{name}</b> is not marked.{where}"


def marked_text(marked: Optional[MarkedStudies]) -> str:
    """Returns how many studies are marked, and what for; empty when the server did not say."""
    if marked is None:
        return ""
    count = f"{marked.normal} normal, {marked.abnormal} abnormal marked for this model."
    return f"{count}<br>The section Training lets the model learn from them."

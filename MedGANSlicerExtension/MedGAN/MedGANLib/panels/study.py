"""Choose what to work on: the server's next study, or a volume of the scene."""

from __future__ import annotations

from typing import Tuple

from .. import volumes
from ..workflow import State
from .look import allow, put_text, safe
from .shared import Shared


class StudyPanel:
    """Next study, and the active volume."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._strategies: Tuple[str, ...] = ()
        self._ui.nextButton.connect("clicked()", self._next)

    def _next(self) -> None:
        self._shared.workflow.next_sample(self._ui.strategyBox.currentText)

    def show(self, state: State) -> None:
        """Draws the study."""
        self._shared.follow_study(state)
        self._fill_strategies(state)
        reason = "Connect to a server first." if not state.connected else "Busy."
        tip = "Fetches the study that is most worth labelling; what is open stays open"
        allow(self._ui.nextButton, state.connected and state.job is None, tip, reason)
        put_text(self._ui.studyLabel, self._study_text(state))

    def _fill_strategies(self, state: State) -> None:
        strategies = state.server.strategies if state.server else ()
        if strategies != self._strategies:
            self._strategies = strategies
            self._ui.strategyBox.clear()
            for name in strategies:
                self._ui.strategyBox.addItem(name)
        self._ui.strategyBox.setVisible(len(strategies) > 1)

    def _study_text(self, state: State) -> str:
        study, volume = state.study, self._shared.volume
        if study is None or volume is None:
            return ""
        synthetic = volumes.is_synthetic(volume)
        made = "<b>Synthetic:</b> made by a model, not acquired. " if synthetic else ""
        if study.image_id:
            return f"{made}Study <b>{safe(study.image_id)}</b> of the server: nothing is sent to run a model."
        kept = " If you submit it, the server keeps it marked as synthetic." if synthetic else ""
        return f"{made}Not at the server: it is sent when you run a model, after you agree.{kept}"

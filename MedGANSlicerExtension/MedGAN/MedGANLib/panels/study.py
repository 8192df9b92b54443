"""Choose what to work on: the server's next study, or a volume of the scene."""

from __future__ import annotations

from typing import Tuple

import qt

from .. import volumes
from ..workflow import State
from .consent import when_sent
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
            for place, name in enumerate(strategies):
                self._ui.strategyBox.addItem(name)
                described = state.server.described.get(name, "") if state.server else ""
                self._ui.strategyBox.setItemData(place, described, qt.Qt.ToolTipRole)
            default = state.server.default_strategy if state.server else ""
            self._ui.strategyBox.currentIndex = max(0, self._ui.strategyBox.findText(default))
        self._ui.strategyBox.setVisible(len(strategies) > 1)

    def _study_text(self, state: State) -> str:
        study, volume = state.study, self._shared.volume
        if study is None or volume is None:
            return ""
        synthetic = volumes.is_synthetic(volume)
        made = "<b>Synthetic:</b> made by a model, not acquired. " if synthetic else ""
        if study.image_id:
            offered = state.offered
            why = f"<br>{safe(offered.reason)}" if offered and offered.id == study.image_id and offered.reason else ""
            return f"{made}Study <b>{safe(study.image_id)}</b> of the server: nothing is sent to run a model.{why}"
        kept = " If you submit it, the server keeps it marked as synthetic." if synthetic else ""
        at_server = volumes.known_id(volume, state.address) if state.connected else ""
        why = "Its voxels are not those that the server has" if at_server else "Not at the server"
        when = when_sent(self._shared.workflow.consents, state.address, stored=False)
        return f"{made}{why}: it is sent when you run a model, {when}.{kept}"

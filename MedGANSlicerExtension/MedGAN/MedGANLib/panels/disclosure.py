"""One thing after the other: a section opens when its turn comes, and says before that what it waits for."""

from __future__ import annotations

from typing import Set, Tuple

from ..workflow import State
from .shared import Shared

Need = Tuple[str, bool, str]


class Disclosure:
    """Opens each section once; after that the user's own opening and closing stands."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._tips = {name: getattr(self._ui, name).toolTip for name in SECTIONS}
        self._opened: Set[str] = set()
        self._open("serverSection")

    def show(self, state: State) -> None:
        """Opens what has become possible."""
        for name, possible, reason in self._needs(state):
            section = getattr(self._ui, name)
            section.enabled = possible
            section.toolTip = self._tips[name] if possible else reason
        if state.connected:
            self._once("studySection", "runSection", closes="serverSection")
        if self._shared.segmentation is not None and state.detection is None:
            self._once("correctSection")  # what was detected is looked at where it was asked for
        if state.connected and state.training.state != "none":
            self._once("trainSection")

    def _needs(self, state: State) -> Tuple[Need, ...]:
        connected, why = state.connected, "Connect to a server first."
        nothing = "This server has no model that makes images."
        no_better = "This server has no model that reconstructs."
        no_search = "This server has no model that detects anomalies."
        segments = self._shared.segmentation is not None
        return (
            ("studySection", connected, why),
            ("runSection", connected, why),
            ("correctSection", segments or connected, why),
            ("reconstructSection", bool(self._shared.reconstruction.models), no_better if connected else why),
            ("detectSection", bool(self._shared.detection.models), no_search if connected else why),
            ("synthesiseSection", bool(self._shared.synthesis.models), nothing if connected else why),
            ("trainSection", connected, why),
            ("versionsSection", connected, why),
        )

    def _once(self, *names: str, closes: str = "") -> None:
        fresh = [n for n in names if n not in self._opened]
        for name in fresh:
            self._open(name)
        if fresh and closes:
            getattr(self._ui, closes).collapsed = True

    def _open(self, name: str) -> None:
        self._opened.add(name)
        getattr(self._ui, name).collapsed = False


SECTIONS = (
    "serverSection",
    "studySection",
    "runSection",
    "correctSection",
    "reconstructSection",
    "detectSection",
    "synthesiseSection",
    "trainSection",
    "versionsSection",
)

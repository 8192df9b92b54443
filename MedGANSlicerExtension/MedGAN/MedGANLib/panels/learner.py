"""Which model the sections Correct, Training and Versions are about, when the server has several that learn."""

from __future__ import annotations

from typing import Any, Tuple

from ..workflow import State
from .shared import Shared


class LearnerBoxes:
    """One choice, shown in each of these sections. It follows the model that the clinician runs."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._boxes: Tuple[Any, ...] = (shared.ui.submitModelBox, shared.ui.trainModelBox, shared.ui.versionsModelBox)
        self._listed: Tuple[Tuple[str, str], ...] = ()
        for box in self._boxes:
            box.connect("currentIndexChanged(int)", self._choose)

    def show(self, state: State) -> None:
        """Draws the choice; nothing where there is none."""
        listed = tuple((model.name, model.title) for model in self._shared.learning.models)
        chosen = self._shared.learner
        for box in self._boxes:
            blocked = box.blockSignals(True)
            if listed != self._listed:
                box.clear()
                for name, title in listed:
                    box.addItem(title, name)
            box.currentIndex = box.findData(chosen.name) if chosen else -1
            box.blockSignals(blocked)
            box.setVisible(len(listed) > 1)
        self._listed = listed

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._listed):
            self._shared.learning.choose(self._listed[index][0])

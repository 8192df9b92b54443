"""Correct a result by clicks: say what is where, and the model repairs its segments at once."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import qt

from ..records import Color, ModelInfo
from ..segments import PALETTE
from ..state import counted
from ..workflow import State
from .click_input import ClickInput
from .click_marks import ClickMarks
from .keyboard import stop_before, tab_through
from .look import allow, put_text, safe
from .shared import Shared

REMOVE: Color = (0.95, 0.20, 0.45)
"""The colour of corrections that take away."""
COLUMNS = 3
UNDO_TIP = "Takes the last correction back; the model runs without it (Alt+Z)"
CLEAR_TIP = "Takes all corrections back; the model runs without them"
HINT = "Choose what is missing or too much, then click there in a slice view. What you drew by hand stays."


class ClicksPanel:
    """One button a label, clicks or scribbles, and the way back."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._grid = qt.QGridLayout(ui.clickButtonsFrame)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self._buttons: Dict[str, Any] = {}
        self._drawn: Tuple[str, ...] = ()
        self._about: Tuple[str, str] = ("", "")
        self.marks = ClickMarks()
        self.input = ClickInput(ui.clicksFrame.layout(), self._placed, self._input_changed)
        ui.scribbleBox.connect("toggled(bool)", self._restart)
        ui.finishScribbleButton.connect("clicked()", self.input.finish)
        ui.undoClickButton.connect("clicked()", self._undo)
        ui.clearClicksButton.connect("clicked()", shared.workflow.clear_corrections)

    @property
    def buttons(self) -> Dict[str, Any]:
        """The button of each label, by the label's name."""
        return self._buttons

    def show(self, state: State) -> None:
        """Draws the buttons of the model, and the corrections in the views."""
        model, volume = self._shared.learner, self._shared.volume
        usable = state.connected and model is not None and bool(model.clicks)
        self._ui.clicksFrame.setVisible(usable)
        self._draw_buttons(model if usable else None)
        about = (volume.GetID() if volume else "", model.name if model and usable else "")
        if about != self._about:
            self._about = about
            self.input.stop()
        self.marks.show(state.corrections, volume, self._look)
        self._allow(state)

    def leave(self) -> None:
        """The module is hidden: clicks belong to other modules."""
        self.input.stop()

    def forget_scene(self) -> None:
        """Called when the scene is closed."""
        self.input.stop()
        self.marks.clear()

    def cleanup(self) -> None:
        """Called when the module is unloaded."""
        self.forget_scene()

    def _draw_buttons(self, model: Optional[ModelInfo]) -> None:
        labels = model.click_labels if model else ()
        wanted = (model.name, *labels) if model else ()
        if wanted == self._drawn:
            return
        self._drawn = wanted
        for button in self._buttons.values():
            self._grid.removeWidget(button)
            button.hide()
            button.deleteLater()
        adding = [label for label in labels if not self._removes(label)]
        taking = [label for label in labels if self._removes(label)]
        self._buttons = {}
        for place, label in enumerate([*adding, *taking]):
            self._buttons[label] = button = self._make_button(label, place + 1 if label in adding else 0)
            self._grid.addWidget(button, place // COLUMNS, place % COLUMNS)
        tab_through(stop_before(self._ui.scribbleBox), self._ui.clickButtonsFrame)

    def _make_button(self, label: str, number: int) -> Any:
        text = "Remove" if self._removes(label) else f"Add to {label}"
        button = qt.QPushButton(text)
        button.checkable = True
        button.setIcon(_swatch(self._look(label)[0]))
        key = f"Alt+{number}" if number < 10 else ""
        if key:
            button.setShortcut(qt.QKeySequence(key))
        what = "belongs to no label" if self._removes(label) else f"belongs to {label}"
        where = "Best in the middle of a mistake: the deeper inside it, the farther a click reaches"
        button.toolTip = f"Clicks in the slice views say: this place {what}. {where}" + (f" ({key})" if key else "")
        button.connect("clicked(bool)", lambda checked: self._choose(label, checked))
        return button

    def _choose(self, label: str, checked: bool) -> None:
        if checked:
            self.input.start(label, self._look(label)[0], bool(self._ui.scribbleBox.checked))
        else:
            self.input.finish()

    def _restart(self, scribble: bool) -> None:
        if self.input.label:
            label = self.input.label
            self.input.finish()
            self.input.start(label, self._look(label)[0], scribble)
        self._allow(self._shared.state)

    def _undo(self) -> None:
        """An unfinished scribble is the last thing that was done."""
        if self.input.drawn:
            self.input.stop()
        else:
            self._shared.workflow.undo_correction()

    def _placed(self, label: str, places: List[List[float]]) -> None:
        model = self._shared.learner
        if model is not None:
            settings = self._shared.run_settings(model)
            self._shared.workflow.correct(model.name, label, places, self._shared.volume, settings)

    def _input_changed(self) -> None:
        for label, button in self._buttons.items():
            button.checked = label == self.input.label
        self._allow(self._shared.state)

    def _allow(self, state: State) -> None:
        ui, drawn = self._ui, self.input.drawn
        for button in self._buttons.values():
            button.enabled = self._shared.volume is not None
        ui.finishScribbleButton.setVisible(bool(self.input.label) and self.input.scribbling)
        ui.finishScribbleButton.enabled = drawn > 1
        there = bool(state.corrections)
        allow(ui.undoClickButton, there or bool(drawn), UNDO_TIP, "There is none.")
        allow(ui.clearClicksButton, there, CLEAR_TIP, "There is none.")
        put_text(ui.clicksLabel, self._text(state))

    def _text(self, state: State) -> str:
        if self._shared.volume is None:
            return "Choose a volume first."
        lines = [self._placing_text(), self._waiting_text(state)]
        return "<br>".join(line for line in lines if line) or HINT

    def _placing_text(self) -> str:
        if not self.input.label:
            return ""
        what = "too much" if self._removes(self.input.label) else safe(self.input.label)
        if self.input.scribbling:
            return f"Click along what is <b>{what}</b>; a right click or <i>Finish</i> sends it."
        return f"Click where <b>{what}</b> is; a right click ends it."

    def _waiting_text(self, state: State) -> str:
        count = counted(len(state.corrections), "correction")
        if not self._shared.workflow.corrections_wait:
            return f"{count} in the result." if state.corrections else ""
        if state.job is not None:
            return f"{count}: the model is asked."
        return f"{count}, not all in the result: <i>Run</i>, or the next click, asks again."

    def _look(self, label: str) -> Tuple[Color, bool]:
        model = self._shared.learner
        if model is None or self._removes(label):
            return REMOVE, True
        value = model.labels.get(label, 0)
        return model.colors.get(label, PALETTE[value % len(PALETTE)]), False

    def _removes(self, label: str) -> bool:
        model = self._shared.learner
        return model is None or label not in model.labels


def _swatch(color: Color) -> Any:
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*[round(255 * part) for part in color]))
    return qt.QIcon(pixmap)

"""Choose a synthesis model, set its options, generate samples; the gallery shows them."""

from __future__ import annotations

from typing import Optional, Tuple

from ..records import ModelInfo
from ..runs import label_table
from ..workflow import State
from .look import allow, put_text
from .options import OptionsForm
from .run import model_text, provenance
from .shared import Shared

GENERATE_TIP = "Makes new samples, which take the place of those below; nothing of a patient is sent"
SHAPE_TIP = "Makes new samples that fill the shape, which is sent after you agree"


class SynthesisePanel:
    """The synthesis models of the server and the options of the chosen one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._listed: Tuple[Tuple[str, str], ...] = ()
        self._shown: Optional[ModelInfo] = None
        self.form = OptionsForm(self._ui.synthesisOptionsFrame)
        self._ui.synthesisModelBox.connect("currentIndexChanged(int)", self._choose)
        self._ui.generateButton.connect("clicked()", self._generate)

    def show(self, state: State) -> None:
        """Draws the models and what can be done."""
        self._list_models()
        self._show_model(self._shared.synthesis_model)
        self.refresh()
        missing = self._missing(state)
        shape = self.form.shape()
        tip = SHAPE_TIP if shape and shape.value() else GENERATE_TIP
        allow(self._ui.generateButton, not missing, tip, missing)

    def refresh(self) -> None:
        """Lists the segments that there are now."""
        shape = self.form.shape()
        if shape:
            shape.refresh()

    def forget_scene(self) -> None:
        """Called when the scene is closed."""
        self.form.forget_places()

    def _missing(self, state: State) -> str:
        if not state.connected:
            return "Connect to a server first."
        if self._shared.synthesis_model is None:
            return "This server has no model that makes images."
        return "" if state.job is None else "Busy."

    def _list_models(self) -> None:
        listed = tuple((m.name, m.title) for m in self._shared.synthesis_models)
        if listed == self._listed:
            return
        self._listed = listed
        chosen = self._shared.synthesis_model
        box = self._ui.synthesisModelBox
        blocked = box.blockSignals(True)
        box.clear()
        for name, title in listed:
            box.addItem(title, name)
        box.currentIndex = max(0, box.findData(chosen.name)) if chosen else -1
        box.blockSignals(blocked)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._listed):
            self._shared.choose_synthesis_model(self._listed[index][0])
            self.show(self._shared.state)

    def _show_model(self, model: Optional[ModelInfo]) -> None:
        if model == self._shown:
            return
        self._shown = model
        put_text(self._ui.synthesisLabel, model_text(model) if model else "")
        self._ui.synthesisLabel.toolTip = provenance(model) if model else ""
        self.form.draw(model.option_properties if model else {}, self._shared.options_of(model.name) if model else {})
        shape = self.form.shape()
        if shape and model:
            shape.set_table(label_table(model))
        self._ui.synthesisOptionsFrame.setVisible(bool(model and model.option_properties))

    def _generate(self) -> None:
        model = self._shared.synthesis_model
        if model is None:
            return
        self.refresh()
        values, shape = self.form.values(), self.form.shape()
        self._shared.keep_options(model.name, values)
        mask = shape.value() if shape else None
        segments = shape.segments() if shape and mask else None
        self._shared.workflow.generate(model.name, values, mask=mask, segments=segments)

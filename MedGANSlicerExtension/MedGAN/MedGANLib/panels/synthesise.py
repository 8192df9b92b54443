"""Choose a synthesis model, set its options, generate samples; the gallery shows them."""

from __future__ import annotations

from ..runs import label_table
from ..workflow import State
from .consent import ask_discard
from .look import allow
from .models import ModelChooser
from .shared import Shared

GENERATE_TIP = "Makes new samples, which take the place of those below; nothing of a patient is sent"
SHAPE_TIP = "Makes new samples that fill the shape, which is sent after you agree"


class SynthesisePanel:
    """The synthesis models of the server and the options of the chosen one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        widgets = (ui.synthesisModelBox, ui.synthesisLabel, ui.synthesisOptionsFrame)
        self._models = ModelChooser(shared, shared.synthesis, widgets, lambda: self.show(shared.state))
        self.form = self._models.form
        ui.generateButton.connect("clicked()", self._generate)

    def show(self, state: State) -> None:
        """Draws the models and what can be done."""
        another = self._models.show()
        shape, model = self.form.shape(), self._models.model
        if another and shape and model:
            shape.set_table(label_table(model))
        self.refresh()
        missing = self._missing(state)
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
        if self._models.model is None:
            return "This server has no model that makes images."
        return "" if state.job is None else "Busy."

    def _generate(self) -> None:
        model, gallery = self._models.model, self._shared.state.gallery
        if model is None:
            return
        if gallery and gallery.waiting and gallery.labels and not ask_discard(len(gallery.waiting)):
            return
        self.refresh()
        values, shape = self._models.values(), self.form.shape()
        mask = shape.value() if shape else None
        segments = shape.segments() if shape and mask else None
        self._shared.workflow.generate(model.name, values, mask=mask, segments=segments)

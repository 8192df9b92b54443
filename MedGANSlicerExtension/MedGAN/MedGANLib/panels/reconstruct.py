"""Choose a reconstruction model, its images and options; run it, undo it."""

from __future__ import annotations

from ..workflow import State
from .inputs import InputsForm
from .keyboard import tab_through
from .look import allow
from .models import ModelChooser
from .shared import Shared

RECONSTRUCT_TIP = "Runs the model; the image appears in the views, and with it how far off it may be"
UNDO_TIP = "Takes the last result of this section out of the scene; what it was made of stays"


class ReconstructPanel:
    """The reconstruction models of the server, the images that the chosen one needs, and its options."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        widgets = (ui.reconstructionModelBox, ui.reconstructionLabel, ui.reconstructionOptionsFrame)
        self._models = ModelChooser(shared, shared.reconstruction, widgets, self._redraw)
        self.form = self._models.form
        self.inputs = InputsForm(ui.inputsFrame, self._allow)
        ui.reconstructButton.connect("clicked()", self._run)
        ui.undoReconstructionButton.connect("clicked()", shared.workflow.undo_reconstruction)

    def show(self, state: State) -> None:
        """Draws the models and what can be done."""
        model = self._models.model
        if self._models.show() and model is not None:
            self.inputs.draw(model.input_names, model.inputs)
            tab_through(self._ui.reconstructionModelBox, self._ui.inputsFrame)
        self._ui.inputsFrame.setVisible(model is not None)
        self.inputs.follow(self._shared.volume)
        self._allow()

    def forget_scene(self) -> None:
        """Called when the scene is closed."""
        self.inputs.forget_scene()

    def _redraw(self) -> None:
        self.show(self._shared.state)

    def _allow(self) -> None:
        state = self._shared.state
        missing = self._missing(state)
        allow(self._ui.reconstructButton, not missing, RECONSTRUCT_TIP, missing)
        there = state.reconstruction is not None
        reason = "Busy." if there else "There is nothing to undo."
        allow(self._ui.undoReconstructionButton, there and state.job is None, UNDO_TIP, reason)

    def _missing(self, state: State) -> str:
        if not state.connected:
            return "Connect to a server first."
        if self._models.model is None:
            return "This server has no model that reconstructs."
        return self.inputs.missing() or ("" if state.job is None else "Busy.")

    def _run(self) -> None:
        model = self._models.model
        if model is not None:
            self._shared.workflow.reconstruct(model.name, self.inputs.chosen(), self._models.values())

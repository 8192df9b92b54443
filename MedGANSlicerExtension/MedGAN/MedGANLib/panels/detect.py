"""Choose an anomaly model, the volume to look at and options; run it, undo it."""

from __future__ import annotations

from ..workflow import State
from .inputs import InputsForm
from .judge import JudgePanel
from .keyboard import tab_through
from .look import allow
from .models import ModelChooser
from .shared import Shared

DETECT_TIP = "Runs the model; where the volume is unlike healthy ones, colours lie over it"
UNDO_TIP = "Takes the last heat map and its segment out of the scene; what it was made of stays"


class DetectPanel:
    """The anomaly models of the server, the volume that is looked at, and the chosen model's options."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        widgets = (ui.detectionModelBox, ui.detectionLabel, ui.detectionOptionsFrame)
        self._models = ModelChooser(shared, shared.detection, widgets, self._chosen)
        self.form = self._models.form
        self.inputs = InputsForm(ui.detectionInputsFrame, self._allow)
        self._judge = JudgePanel(shared, self.inputs)
        ui.detectButton.connect("clicked()", self._run)
        ui.undoDetectionButton.connect("clicked()", shared.workflow.undo_detection)

    def show(self, state: State) -> None:
        """Draws the models and what can be done."""
        model = self._models.model
        if self._models.show() and model is not None:
            self.inputs.draw(model.input_names, model.inputs)
            tab_through(self._ui.detectionModelBox, self._ui.detectionInputsFrame)
        self._ui.detectionInputsFrame.setVisible(model is not None)
        self.inputs.follow(self._shared.volume)
        self._allow()

    def forget_scene(self) -> None:
        """Called when the scene is closed."""
        self.inputs.forget_scene()

    def _allow(self) -> None:
        state = self._shared.state
        missing = self._missing(state)
        allow(self._ui.detectButton, not missing, DETECT_TIP, missing)
        there = state.detection is not None
        reason = "Busy." if there else "There is nothing to undo."
        allow(self._ui.undoDetectionButton, there and state.job is None, UNDO_TIP, reason)
        self._judge.show(state)

    def _chosen(self) -> None:
        self._shared.learn_with(self._models.model)
        self.show(self._shared.state)

    def _missing(self, state: State) -> str:
        if not state.connected:
            return "Connect to a server first."
        if self._models.model is None:
            return "This server has no model that detects anomalies."
        return self.inputs.missing() or ("" if state.job is None else "Busy.")

    def _run(self) -> None:
        model = self._models.model
        if model is not None:
            self._shared.learn_with(model)
            self._shared.workflow.detect(model.name, self.inputs.nodes(), self._models.values())

"""Choose a model, set its options, run it, undo it."""

from __future__ import annotations

from typing import Any, Dict

from ..records import ModelInfo
from ..workflow import State
from .look import allow
from .models import ModelChooser
from .shared import Shared

RUN_TIP = "Runs the model on the study; the result appears in the views"
UNDO_TIP = "Takes back the last run in one step; segments drawn by hand stay"


class RunPanel:
    """The models of the server that run on a study, and the options of the chosen one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._study = ""
        widgets = (ui.modelBox, ui.modelLabel, ui.optionsFrame)
        self._models = ModelChooser(shared, shared.studying, widgets, self._chosen)
        self.form = self._models.form
        shared.run_settings = self.settings
        ui.runButton.connect("clicked()", self._run)
        ui.undoButton.connect("clicked()", shared.workflow.undo_last)

    def show(self, state: State) -> None:
        """Draws the models and what can be done."""
        self._models.show()
        self._forget_places(state)
        missing = self._missing(state)
        allow(self._ui.runButton, not missing, RUN_TIP, missing)
        reason = "Busy." if state.can_undo else "There is no run to undo."
        allow(self._ui.undoButton, state.can_undo and state.job is None, UNDO_TIP, reason)

    def _missing(self, state: State) -> str:
        if not state.connected:
            return "Connect to a server first."
        if self._models.model is None:
            return "The server offers no model that runs on a study."
        if self._shared.volume is None:
            return "Choose a volume first."
        return "" if state.job is None else "Busy."

    def _forget_places(self, state: State) -> None:
        study = state.study.volume_id if state.study else ""
        if study != self._study:
            self._study = study
            self.form.forget_places()

    def _chosen(self) -> None:
        self._shared.learn_with(self._models.model)
        self.show(self._shared.state)

    def _run(self) -> None:
        model = self._models.model
        if model is None:
            return
        self._shared.learn_with(model)
        self._shared.workflow.run_model(model.name, self._shared.volume, **self.settings(model))

    def settings(self, model: ModelInfo) -> Dict[str, Any]:
        """Returns how a model is run: as it is set here, or as it was run last when another one is chosen."""
        where = {"segmentation": self._shared.segmentation}
        chosen = self._models.model
        if chosen is None or chosen.name != model.name:
            return {"options": self._shared.options_of(model.name), **where}
        places = {"points": self.form.node("points"), "roi": self.form.node("roi")}
        return {"options": self._models.values(), **places, **where}

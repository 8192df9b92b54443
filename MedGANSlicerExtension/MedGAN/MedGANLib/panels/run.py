"""Choose a model, set its options, run it, undo it."""

from __future__ import annotations

from typing import Optional, Tuple

from ..records import ModelInfo
from ..workflow import State
from .look import allow, dots, main_metric, put_text, safe
from .options import OptionsForm
from .shared import Shared

RUN_TIP = "Runs the model on the study; the result appears in the views"
UNDO_TIP = "Takes back the last run in one step; segments drawn by hand stay"


class RunPanel:
    """The models of the server and the options of the chosen one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._listed: Tuple[Tuple[str, str], ...] = ()
        self._shown: Optional[ModelInfo] = None
        self._study = ""
        self.form = OptionsForm(self._ui.optionsFrame)
        self._ui.modelBox.connect("currentIndexChanged(int)", self._choose)
        self._ui.runButton.connect("clicked()", self._run)
        self._ui.undoButton.connect("clicked()", shared.workflow.undo_last)

    def show(self, state: State) -> None:
        """Draws the models and what can be done."""
        self._list_models()
        self._show_model(self._shared.model)
        self._forget_places(state)
        missing = self._missing(state)
        allow(self._ui.runButton, not missing, RUN_TIP, missing)
        reason = "Busy." if state.can_undo else "There is no run to undo."
        allow(self._ui.undoButton, state.can_undo and state.job is None, UNDO_TIP, reason)

    def _missing(self, state: State) -> str:
        if not state.connected:
            return "Connect to a server first."
        if self._shared.model is None:
            return "The server offers no model that runs on a study."
        if self._shared.volume is None:
            return "Choose a volume first."
        return "" if state.job is None else "Busy."

    def _list_models(self) -> None:
        listed = tuple((m.name, m.title) for m in self._shared.models)
        if listed == self._listed:
            return
        self._listed = listed
        chosen = self._shared.model
        box = self._ui.modelBox
        blocked = box.blockSignals(True)
        box.clear()
        for name, title in listed:
            box.addItem(title, name)
        box.currentIndex = max(0, box.findData(chosen.name)) if chosen else -1
        box.blockSignals(blocked)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._listed):
            self._shared.choose_model(self._listed[index][0])
            self.show(self._shared.state)

    def _show_model(self, model: Optional[ModelInfo]) -> None:
        if model == self._shown:
            return
        self._shown = model
        put_text(self._ui.modelLabel, model_text(model) if model else "")
        self._ui.modelLabel.toolTip = provenance(model) if model else ""
        self.form.draw(model.option_properties if model else {}, self._shared.options_of(model.name) if model else {})
        self._ui.optionsFrame.setVisible(bool(model and model.option_properties))

    def _forget_places(self, state: State) -> None:
        study = state.study.volume_id if state.study else ""
        if study != self._study:
            self._study = study
            self.form.forget_places()

    def _run(self) -> None:
        model = self._shared.model
        if model is None:
            return
        values = self.form.values()
        self._shared.keep_options(model.name, values)
        self._shared.workflow.run_model(
            model.name,
            self._shared.volume,
            values,
            points=self.form.node("points"),
            roi=self.form.node("roi"),
            segmentation=self._shared.segmentation,
        )


def model_text(model: ModelInfo) -> str:
    """Returns what a clinician should know of a model, as rich text."""
    first = safe(model.description)
    facts = dots([safe(p) for p in (model.modality, model.body_part, model.version, main_metric(model.metrics))])
    return "<br>".join(line for line in (first, facts, _caution(model)) if line)


def _caution(model: ModelInfo) -> str:
    if model.output == "labelmap":
        return ""
    made = "made by a network from what was measured" if model.reconstructs else "synthetic"
    return f"<b>Its images are {made}</b> and are marked so."


def provenance(model: ModelInfo) -> str:
    """Returns where a model comes from, as rich text."""
    lines = [
        f"Trained on {safe(model.data)}" if model.data else "",
        f"Licence: {safe(model.licence)}" if model.licence else "",
        safe(model.checksum),
    ]
    return "<br>".join(line for line in lines if line)

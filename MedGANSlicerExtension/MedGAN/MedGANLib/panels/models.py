"""The head of a section: the models it offers, what is known of the chosen one, and its options."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ..records import ModelInfo
from .keyboard import tab_through
from .look import dots, main_metric, put_text, safe
from .options import OptionsForm
from .shared import Offer, Shared


class ModelChooser:
    """A combo box of models, the description of the chosen one, and the form of its options.

    Attributes:
        form: The options.
    """

    def __init__(self, shared: Shared, offer: Offer, widgets: Tuple[Any, Any, Any], chosen: Callable[[], None]) -> None:
        """Draws into `widgets`: combo box, label, and frame for the options; `chosen` hears of the user's choice."""
        self._shared = shared
        self._offer = offer
        self._box, self._label, self._frame = widgets
        self._chosen = chosen
        self._listed: Tuple[Tuple[str, str], ...] = ()
        self._shown: Optional[ModelInfo] = None
        self._drawn: Optional[ModelInfo] = None
        self._saved: Mapping[str, Any] = {}
        self.form = OptionsForm(self._frame)
        self._box.connect("currentIndexChanged(int)", self._choose)

    @property
    def model(self) -> Optional[ModelInfo]:
        """The chosen model, or None when there is none to choose."""
        return self._offer.model

    def show(self) -> bool:
        """Draws what there is; returns whether it is another model than before, or the form of another scene."""
        self._list()
        opened = self._is_opened(self.model)
        return self._describe(self.model, opened)

    def values(self) -> Dict[str, Any]:
        """Returns the options as they are set, and keeps them with the scene."""
        values, model = self.form.values(), self.model
        if model:
            self._saved = dict(values)  # before they are kept, so that they are not taken for those of another scene
            self._shared.keep_options(model.name, values)
        return values

    def _is_opened(self, model: Optional[ModelInfo]) -> bool:
        """Whether a scene was opened that has options of the model other than those that are known here."""
        if self._shared.parameters is None:
            self._saved = {}  # the scene is closed; the next one's options count, also when they are the same
        saved = self._shared.options_of(model.name) if model else {}
        known, self._saved = self._saved, saved or self._saved
        return bool(saved) and saved != known

    def _list(self) -> None:
        """Lists the models, and shows the chosen one, which a scene that was opened may have changed."""
        listed = tuple((m.name, m.title) for m in self._offer.models)
        chosen = self.model
        blocked = self._box.blockSignals(True)
        if listed != self._listed:
            self._listed = listed
            self._box.clear()
            for name, title in listed:
                self._box.addItem(title, name)
        self._box.currentIndex = max(0, self._box.findData(chosen.name)) if chosen else -1
        self._box.blockSignals(blocked)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._listed):
            self._offer.choose(self._listed[index][0])
            self._chosen()

    def _describe(self, model: Optional[ModelInfo], opened: bool) -> bool:
        if model == self._shown and not opened:
            return False
        self._shown = model
        put_text(self._label, model_text(model) if model else "")
        self._label.toolTip = provenance(model) if model else ""
        if model is not None:
            self._draw_options(model, opened)
        self._frame.setVisible(model is not None and bool(self.form.fields))
        return True

    def _draw_options(self, model: ModelInfo, opened: bool) -> None:
        """A new version of the model that was shown, or a new connection, leaves what the user has set and placed.

        So the form stays while there is no model at all. The options of a scene that was opened go before.
        """
        kept: Dict[str, Any] = {}
        earlier, self._drawn = self._drawn, model
        if earlier is not None and model.name == earlier.name and not opened:
            if model.option_properties == earlier.option_properties:
                return
            kept = self.form.values()
        self.form.draw(model.option_properties, {**self._shared.options_of(model.name), **kept})
        tab_through(self._box, self._frame)


def model_text(model: ModelInfo) -> str:
    """Returns what a clinician should know of a model, as rich text."""
    first = safe(model.description)
    facts = dots([safe(p) for p in (model.modality, model.body_part, model.version, main_metric(model.metrics))])
    return "<br>".join(line for line in (first, facts, _caution(model)) if line)


def _caution(model: ModelInfo) -> str:
    if model.output == "labelmap":
        return ""
    if model.detects:
        return "<b>Its heat map is no acquired image</b> and is marked so. It is no diagnosis."
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

"""Look at a reconstruction: beside what it was made of, blended with it, and under the map of how far off it may be."""

from __future__ import annotations

import math
from typing import Any, Optional

import slicer

from ..reconstructions import AS_INPUT, Reconstruction
from ..workflow import State
from .inputs import caption
from .look import allow, dots, put_text, safe
from .shared import Shared
from .slice_views import Over, SliceViews

RESULT, BESIDE, BLEND = range(3)
MODES = ("Result", "Before | after", "Blend")
UNCERTAINTY_TIP = "Colours where the image may be far off what is true: yellow is little, red is much"


class ComparePanel:
    """The last reconstruction: how far it agrees with what was measured, and three ways to look at it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._views = SliceViews()
        self._shown: Optional[Reconstruction] = None
        self._study = ""
        self._drawing = False
        for mode in MODES:
            ui.viewBox.addItem(mode)
        ui.viewBox.connect("currentIndexChanged(int)", self._changed)
        ui.compareBox.connect("currentIndexChanged(int)", self._changed)
        ui.uncertaintyBox.connect("toggled(bool)", self._changed)
        for slider in (ui.blendSlider, ui.opacitySlider, ui.thresholdSlider):
            slider.connect("valueChanged(double)", self._changed)
        ui.opacitySlider.value = 0.6
        ui.blendSlider.value = 0.5
        ui.reconstructionFrame.setVisible(False)

    def show(self, state: State) -> None:
        """Draws the last reconstruction; views change only when there is another one, or another study."""
        made = state.reconstruction if self._is_there(state.reconstruction) else None
        if made != self._shown:
            self._draw(made, state)
        elif self._another_study(state):
            self._leave()
        self._study = state.study.volume_id if state.study else ""
        self._allow()

    def forget_scene(self) -> None:
        """Called before the scene is closed: the views are given back."""
        self._shown = None
        self._leave()
        self._ui.reconstructionFrame.setVisible(False)

    def cleanup(self) -> None:
        """Called when the module is unloaded."""
        self._views.give_back()

    def _draw(self, made: Optional[Reconstruction], state: State) -> None:
        previous, self._shown = self._shown, made
        self._ui.reconstructionFrame.setVisible(made is not None)
        if made is None:
            self._leave()
            first = next(iter(previous.inputs.values()), "") if previous else ""
            if _node(first) is not None:
                self._views.everywhere(_node(first))
            return
        self._drawing = True
        self._fill(made)
        self._drawing = False
        self._look(fit=True)

    def _fill(self, made: Reconstruction) -> None:
        """Writes what is known of it, and sets the controls."""
        ui = self._ui
        put_text(ui.consistencyLabel, consistency_text(made))
        put_text(ui.warningsLabel, "<br>".join(safe(warning) for warning in made.warnings))
        ui.compareBox.clear()
        for name, node_id in made.inputs.items():
            ui.compareBox.addItem(caption(name, _node(node_id).GetName() if _node(node_id) else ""), node_id)
        put_text(ui.uncertaintyLabel, uncertainty_text(made))
        ui.thresholdSlider.minimum, ui.thresholdSlider.maximum = 0.0, made.usual or 1.0
        ui.thresholdSlider.singleStep = (made.usual or 1.0) / 50
        ui.thresholdSlider.decimals = decimals(made.usual)
        ui.thresholdSlider.value = 0.1 * made.usual

    def _changed(self, value: Any = None) -> None:
        if not self._drawing and self._is_there(self._shown):
            self._look()
            self._allow()

    def _look(self, fit: bool = False) -> None:
        made = self._shown
        if made is None:
            return
        image, before = _node(made.image), _node(str(self._ui.compareBox.itemData(self._ui.compareBox.currentIndex)))
        over = self._over(made)
        mode = self._ui.viewBox.currentIndex if before is not None else RESULT
        if mode == BLEND:
            self._views.everywhere(before, (image, self._ui.blendSlider.value), fit)
        elif mode == BESIDE:
            self._views.side_by_side(before, image, over)
        else:
            self._views.everywhere(image, over, fit)

    def _over(self, made: Reconstruction) -> Optional[Over]:
        """Returns the uncertainty as it lies over the image, if it shall."""
        node = _node(made.uncertainty)
        if node is None or not self._ui.uncertaintyBox.checked:
            return None
        display = node.GetDisplayNode()
        display.SetAutoThreshold(False)
        display.SetThreshold(self._ui.thresholdSlider.value, max(made.largest, self._ui.thresholdSlider.value))
        display.SetApplyThreshold(True)
        return node, self._ui.opacitySlider.value

    def _allow(self) -> None:
        """Shows the controls that mean something now."""
        ui, made = self._ui, self._shown
        blend, several = ui.viewBox.currentIndex == BLEND, made is not None and len(made.inputs) > 1
        doubt = made is not None and bool(made.uncertainty)
        for widget in (ui.viewLabel, ui.viewBox):
            widget.setVisible(made is not None and bool(made.inputs))  # of k-space there is no image before it
        for widget in (ui.compareLabel, ui.compareBox):
            widget.setVisible(several and ui.viewBox.currentIndex != RESULT)
        for widget in (ui.blendLabel, ui.blendSlider):
            widget.setVisible(blend)
        reason = "Choose another view: Blend shows no colours." if blend else "This model tells none."
        allow(ui.uncertaintyBox, doubt and not blend, UNCERTAINTY_TIP, reason)
        for widget in (ui.thresholdLabel, ui.thresholdSlider, ui.opacityLabel, ui.opacitySlider):
            widget.setVisible(bool(ui.uncertaintyBox.checked) and doubt and not blend)

    def _leave(self) -> None:
        """Gives the views back, without anything over the images, and begins again with the plain result."""
        self._views.uncover(self._shown.made if self._shown else ())
        self._drawing = True
        self._ui.viewBox.currentIndex = RESULT
        self._drawing = False
        self._views.give_back()

    def _another_study(self, state: State) -> bool:
        study = state.study.volume_id if state.study else ""
        return self._shown is not None and study not in ("", self._study, *self._shown.inputs.values())

    @staticmethod
    def _is_there(made: Optional[Reconstruction]) -> bool:
        return made is not None and _node(made.image) is not None


def consistency_text(made: Reconstruction) -> str:
    """Returns which result is looked at, and how far it agrees with what was measured, as rich text."""
    altered = "marked as altered" if made.altered else ""
    return f"{dots([f'{safe(made.model.title)} {safe(made.version)}', altered])}<br><b>{safe(made.consistency)}</b>"


def uncertainty_text(made: Reconstruction) -> str:
    """Returns how large the uncertainty gets, with its unit."""
    if not made.uncertainty:
        return ""
    units = "in the image's own units" if made.units == AS_INPUT else safe(made.units)
    return f"at most {made.largest:.3g} {units}"


def decimals(number: float) -> int:
    """Returns how many decimals tell hundredths of a number."""
    return max(0, min(6, 2 - math.floor(math.log10(number)))) if number > 0 else 2


def _node(node_id: str) -> Any:
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None

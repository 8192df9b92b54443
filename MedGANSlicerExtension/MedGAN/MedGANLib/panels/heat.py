"""Look at a heat map: its colours over the image, how unusual that is, and the threshold that makes the segment."""

from __future__ import annotations

from typing import Any, Optional

import qt
import slicer

from ..calibrations import brief, score_text, spot_text
from ..detections import Detection
from ..heat import shades
from ..workflow import State
from .compare import decimals
from .look import put_text, safe
from .shared import Shared
from .slice_views import SliceViews

REST_MILLISECONDS = 200
"""The findings are listed anew when the threshold has not moved for so long."""
CORRECTED = (
    "You corrected the segment, so the threshold leaves it as it is. Remove it, and the threshold draws it again."
)
STOPS = 8
"""Colours by which the scale is drawn."""


class HeatPanel:
    """The last heat map: shown over the image, with the threshold in words."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._views = SliceViews()
        self._shown = ""
        self._volume = ""
        self._study = ""
        self._drawing = False
        self._rest = qt.QTimer()
        self._rest.singleShot = True
        self._rest.interval = REST_MILLISECONDS
        self._rest.connect("timeout()", self._list)
        ui.heatBox.connect("toggled(bool)", self._changed)
        ui.heatOpacitySlider.connect("valueChanged(double)", self._changed)
        ui.heatThresholdSlider.connect("valueChanged(double)", self._moved)
        ui.resetThresholdButton.connect("clicked()", self._reset)
        ui.heatOpacitySlider.value = 0.7
        ui.detectionFrame.setVisible(False)

    def show(self, state: State) -> None:
        """Draws the last heat map; views change only when there is another one, or another study."""
        made = self._present(state)
        if (made.heat if made else "") != self._shown:
            self._draw(made)
        elif self._another_study(state):
            self._views.uncover([self._shown])
        self._study = state.study.volume_id if state.study else ""
        if made is not None:
            self._tell(made)

    def forget_scene(self) -> None:
        """Called before the scene is closed: the views are given back."""
        self._rest.stop()
        self._draw(None)

    def cleanup(self) -> None:
        """Called when the module is unloaded."""
        self._rest.stop()

    def _present(self, state: State) -> Optional[Detection]:
        made = state.detection
        return made if made is not None and _node(made.heat) is not None else None

    def _another_study(self, state: State) -> bool:
        study = state.study.volume_id if state.study else ""
        return bool(self._shown) and study not in ("", self._study, self._volume)

    def _draw(self, made: Optional[Detection]) -> None:
        self._views.uncover([self._shown] if self._shown else [])
        self._shown, self._volume = (made.heat, made.volume) if made else ("", "")
        self._ui.detectionFrame.setVisible(made is not None)
        if made is None:
            return
        self._fill(made)
        self._look(made, fit=True)

    def _fill(self, made: Detection) -> None:
        """Sets the controls to the range of a heat map."""
        ui, largest = self._ui, max(made.largest, made.threshold)
        self._drawing = True
        slider = ui.heatThresholdSlider
        slider.decimals = decimals(largest)
        slider.minimum, slider.maximum = 0.0, largest
        slider.singleStep = 10.0 ** -decimals(largest)
        ui.heatBox.checked = True
        self._drawing = False
        self._set_slider(made.threshold)
        put_text(ui.scoreLabel, f"<b>{safe(score_text(made.calibration))}</b>")
        put_text(ui.detectionWarningsLabel, "<br>".join(safe(warning) for warning in made.warnings))
        ui.heatScaleLabel.text = scale_text(largest)
        ui.heatScaleLabel.styleSheet = scale_style()

    def _tell(self, made: Detection) -> None:
        """Says what the threshold means, and shows the map above it."""
        ui = self._ui
        if abs(ui.heatThresholdSlider.value - made.threshold) > ui.heatThresholdSlider.singleStep:
            self._set_slider(made.threshold)  # a script has moved it
        put_text(ui.heatThresholdLabel, safe(spot_text(made.calibration, made.threshold)))
        put_text(ui.correctedLabel, CORRECTED if made.corrected else "")
        ui.resetThresholdButton.enabled = made.threshold != made.calibration.threshold
        for widget in (ui.heatOpacityLabel, ui.heatOpacitySlider):
            widget.enabled = bool(ui.heatBox.checked)
        display = _node(made.heat).GetDisplayNode()
        if not display.GetApplyThreshold() or display.GetLowerThreshold() != made.threshold:
            display.SetAutoThreshold(False)
            display.SetThreshold(made.threshold, max(made.largest, made.threshold))
            display.SetApplyThreshold(True)

    def _look(self, made: Detection, fit: bool = False) -> None:
        volume = _node(made.volume)
        over = (_node(made.heat), self._ui.heatOpacitySlider.value) if self._ui.heatBox.checked else None
        if volume is not None:
            self._views.everywhere(volume, over, fit)

    def _changed(self, value: Any = None) -> None:
        made = self._present(self._shared.state)
        if made is not None and not self._drawing:
            self._look(made)
            self._tell(made)

    def _moved(self, value: float) -> None:
        if not self._drawing and self._shared.workflow.move_threshold(float(value)):
            self._rest.start()

    def _reset(self) -> None:
        made = self._present(self._shared.state)
        if made is None:
            return
        self._set_slider(made.calibration.threshold)
        self._moved(made.calibration.threshold)

    def _set_slider(self, threshold: float) -> None:
        """Moves the slider without passing on its value, which is rounded."""
        self._drawing = True
        self._ui.heatThresholdSlider.value = threshold
        self._drawing = False

    def _list(self) -> None:
        if self._present(self._shared.state) is not None:
            self._shared.workflow.list_findings()


def scale_text(largest: float) -> str:
    """Returns what stands on the colour scale, as rich text: its ends."""
    right = f'<td align="right" style="color: black">{brief(largest)}</td>'
    return f'<table width="100%"><tr><td style="color: white">0</td>{right}</tr></table>'


def scale_style() -> str:
    """Returns the style sheet of the colour scale."""
    stops = ", ".join(f"stop:{n / (STOPS - 1):.2f} {_css(color)}" for n, color in enumerate(shades(STOPS)))
    gradient = f"qlineargradient(x1:0, y1:0, x2:1, y2:0, {stops})"
    return f"border-radius: 3px; padding: 1px 6px; background: {gradient}"


def _css(color: Any) -> str:
    red, green, blue = (round(255 * float(channel)) for channel in color)
    return f"rgb({red}, {green}, {blue})"


def _node(node_id: str) -> Any:
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None

"""The rows of the options form, one class for each kind of option that docs/api.md names."""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, Mapping, Optional

import ctk
import qt
import slicer

from .shape_field import ShapeField

Schema = Mapping[str, Any]
UNSET = "server's choice"
LARGEST = 2**31 - 1


class BoolField:
    """A check box; its text is the caption."""

    place = caption = ""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self.widget = qt.QCheckBox(str(schema.get("title", name)))
        self.widget.checked = bool(schema.get("default", False) if saved is None else saved)

    def value(self) -> bool:
        """Returns True or False."""
        return bool(self.widget.checked)


class NumberField:
    """A spin box for whole or decimal numbers; without a default its lowest step leaves the choice to the server."""

    place = ""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self.caption = str(schema.get("title", name))
        self._whole = schema["type"] == "integer"
        low, high = schema.get("minimum", 0), schema.get("maximum", LARGEST)
        self._step: float = 1 if self._whole else _step(float(low), float(high))
        self.widget = qt.QSpinBox() if self._whole else qt.QDoubleSpinBox()
        if not self._whole:
            self.widget.decimals = 3 if self._step < 0.1 else 2
        start = schema.get("default") if saved is None else saved
        self._unset = None if "default" in schema else low - self._step
        self.widget.setRange(self._number(low if self._unset is None else self._unset), self._number(high))
        self.widget.singleStep = self._number(self._step)
        if self._unset is not None:
            self.widget.specialValueText = UNSET
        self.widget.value = self._number(self._unset if start is None else start)

    def _number(self, value: Any) -> Any:
        return int(value) if self._whole else float(value)

    def value(self) -> Any:
        """Returns the number, or None when the choice is left to the server."""
        number = self.widget.value
        left = self._unset is not None and abs(number - self._unset) < 1e-9
        return None if left else self._number(number)


class SliderField:
    """A number between two ends, with a slider, for what is found by trying."""

    place = ""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self.caption = str(schema.get("title", name))
        low, high = float(schema.get("minimum", 0.0)), float(schema.get("maximum", 1.0))
        self.widget = ctk.ctkSliderWidget()
        self.widget.minimum, self.widget.maximum = low, high
        self.widget.decimals = 2
        self.widget.singleStep = (high - low) / 20
        start = float(schema.get("default", low) if saved is None else saved)
        self.widget.value = min(high, max(low, start))

    def value(self) -> float:
        """Returns the number, without the tail that a slider's arithmetic leaves."""
        return round(float(self.widget.value), 4)


class SeedField:
    """A number that a sample is made from, and a button that draws another one."""

    place = ""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self._number = NumberField(name, {"default": 0, **schema}, saved)
        self._largest = int(schema.get("maximum", LARGEST))
        self.caption = self._number.caption
        self.spin = self._number.widget
        self.button = qt.QPushButton("New seed")
        self.button.toolTip = "Another seed gives other samples; the same seed gives the same ones again"
        self.widget = qt.QWidget()
        layout = qt.QHBoxLayout(self.widget)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.spin)
        layout.addWidget(self.button)
        layout.setStretch(0, 1)
        self.button.connect("clicked()", self.draw)

    def draw(self) -> None:
        """Draws another seed."""
        self.spin.value = random.randrange(self._largest + 1)

    def value(self) -> Any:
        """Returns the seed."""
        return self._number.value()


def _step(low: float, high: float) -> float:
    span = high - low
    return 0.01 if span <= 1 else 0.1 if span <= 20 else 1.0


class ChoiceField:
    """A combo box for an enumeration."""

    place = ""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self.caption = str(schema.get("title", name))
        self._choices = [str(c) for c in schema["enum"]]
        self._optional = "default" not in schema
        self.widget = qt.QComboBox()
        for choice in [UNSET] * self._optional + self._choices:
            self.widget.addItem(choice)
        start = schema.get("default") if saved is None else saved
        self.widget.currentIndex = max(0, self.widget.findText(str(start)))

    def value(self) -> Optional[str]:
        """Returns the choice, or None when it is left to the server."""
        text = str(self.widget.currentText)
        return text if text in self._choices else None


class TextField:
    """A line of text."""

    place = ""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self.caption = str(schema.get("title", name))
        self.widget = qt.QLineEdit()
        self.widget.text = str(schema.get("default", "") if saved is None else saved)

    def value(self) -> Optional[str]:
        """Returns the text, or None when it is empty."""
        return str(self.widget.text) or None


class PlaceField:
    """Points or a box in the views: a markups node, and a button that starts placing it."""

    def __init__(self, name: str, schema: Schema, saved: Any) -> None:
        self.caption = str(schema.get("title", name))
        self.place = str(schema["x-widget"])
        self._node_class, button, base_name = PLACES[self.place]
        self.widget = qt.QWidget()
        self.selector = self._make_selector(base_name)
        self.button = qt.QPushButton(button)
        self._placer = slicer.qSlicerMarkupsPlaceWidget()
        self._placer.buttonsVisible = False
        self._placer.setMRMLScene(slicer.mrmlScene)
        self._lay_out()
        self.button.connect("clicked()", self._start_placing)

    def _make_selector(self, base_name: str) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [self._node_class]
        selector.baseName = base_name
        selector.noneEnabled = selector.removeEnabled = selector.renameEnabled = True
        selector.noneDisplay = "none"
        selector.setMRMLScene(slicer.mrmlScene)
        return selector

    def _lay_out(self) -> None:
        layout = qt.QHBoxLayout(self.widget)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.selector, self.button, self._placer):
            layout.addWidget(widget)
        layout.setStretch(0, 1)
        self._placer.setVisible(False)
        self.button.toolTip = "Then click in a slice view"

    def _start_placing(self) -> None:
        if self.selector.currentNode() is None:
            self.selector.addNode()
        self._placer.setCurrentNode(self.selector.currentNode())
        self._placer.placeModeEnabled = True

    def value(self) -> Any:
        """Returns the markups node, or None."""
        return self.selector.currentNode()

    def clear(self) -> None:
        """Lets go of the node; it stays in the scene."""
        self.selector.setCurrentNode(None)


PLACES = {
    "points": ("vtkMRMLMarkupsFiducialNode", "Place point", "Points for the model"),
    "roi": ("vtkMRMLMarkupsROINode", "Draw box", "Region for the model"),
}
FIELDS: Dict[str, Callable[[str, Schema, Any], Any]] = {
    "boolean": BoolField,
    "integer": NumberField,
    "number": NumberField,
    "string": TextField,
}


def make_field(name: str, schema: Schema, saved: Any) -> Optional[Any]:
    """Returns the row of an option, or None for a kind without one (the server then uses its default).

    Corrections, marked `clicks`, have no row: they are clicked in the section *Correct and submit*.

    A saved value of another kind, from a scene of an older server, is not used.
    """
    kind = _kind(name, schema)
    if kind is None:
        return None
    try:
        return kind(name, schema, saved)
    except (TypeError, ValueError):
        return kind(name, schema, None)


def _kind(name: str, schema: Schema) -> Optional[Callable[[str, Schema, Any], Any]]:
    if schema.get("x-widget") in PLACES:
        return PlaceField
    if schema.get("x-widget") == ShapeField.place:
        return ShapeField
    if schema.get("x-widget") == "slider" and schema.get("type") == "number":
        return SliderField
    if name == "seed" and schema.get("type") == "integer":
        return SeedField
    return ChoiceField if "enum" in schema else FIELDS.get(str(schema.get("type")))

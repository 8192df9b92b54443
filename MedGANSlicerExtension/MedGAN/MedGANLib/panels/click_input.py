"""Places that the clinician clicks in the views: one at a time, or several as a scribble."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

import qt
import slicer

from ..markups import points_option
from ..records import Color

Placed = Callable[[str, List[List[float]]], None]
"""Called with a label and its places in RAS mm."""
FIDUCIALS, CURVE = "vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsCurveNode"


class ClickInput:
    """Slicer's own placing of markups, into a node that is emptied as soon as a place was taken."""

    def __init__(self, layout: Any, placed: Placed, changed: Callable[[], None]) -> None:
        """Lays its (hidden) widget into `layout`; `changed` is called when placing begins, goes on or ends."""
        self._placed = placed
        self._changed = changed
        self._node: Any = None
        self._tag: Optional[int] = None
        self.label = ""
        self.scribbling = False
        self._placer = slicer.qSlicerMarkupsPlaceWidget()
        self._placer.buttonsVisible = False
        self._placer.placeMultipleMarkups = slicer.qSlicerMarkupsPlaceWidget.ForcePlaceMultipleMarkups
        self._placer.setMRMLScene(slicer.mrmlScene)
        layout.addWidget(self._placer)
        self._placer.setVisible(False)
        self._placer.connect("activeMarkupsPlaceModeChanged(bool)", self._mode_changed)

    @property
    def node(self) -> Any:
        """The node that clicks go to; None when nothing is being placed."""
        return self._node

    @property
    def drawn(self) -> int:
        """How many places the unfinished scribble has."""
        return len(points_option(self._node)) if self._node is not None and self.scribbling else 0

    def start(self, label: str, color: Color, scribble: bool) -> None:
        """Lets clicks in the views be places of a label.

        Args:
            label: The label.
            color: What it is drawn in.
            scribble: Whether several clicks make one correction, see `finish`.
        """
        self.stop()
        self.label, self.scribbling = label, scribble
        self._node = add_hidden(CURVE if scribble else FIDUCIALS, f"Correction {label}", color)
        self._tag = self._node.AddObserver(self._node.PointPositionDefinedEvent, self._defined)
        self._placer.setCurrentNode(self._node)
        self._placer.placeModeEnabled = True
        self._changed()

    def finish(self) -> None:
        """Ends placing; a scribble becomes one correction."""
        label, places = self.label, points_option(self._node) if self._node is not None and self.scribbling else []
        self.stop()
        if places:
            self._placed(label, places)

    def stop(self) -> None:
        """Ends placing; an unfinished scribble is dropped."""
        node, tag, self._node, self._tag, self.label = self._node, self._tag, None, None, ""
        if node is None:
            return
        node.RemoveObserver(tag)
        self._placer.placeModeEnabled = False
        self._placer.setCurrentNode(None)
        slicer.mrmlScene.RemoveNode(node)
        self._changed()

    def _defined(self, caller: Any, event: str) -> None:
        """A place was clicked. The node is left alone until its own work on the click is done."""
        if not self.scribbling:
            qt.QTimer.singleShot(0, self._take)
        else:
            qt.QTimer.singleShot(0, self._changed)

    def _take(self) -> None:
        if self._node is None or self.scribbling:
            return
        label, places = self.label, points_option(self._node)
        if places:
            self._node.RemoveAllControlPoints()
        for place in places:
            self._placed(label, [place])

    def _mode_changed(self, placing: bool) -> None:
        """Placing ended in the view (right click, double click, Escape), or another markup is placed."""
        if not placing and self._node is not None:
            qt.QTimer.singleShot(0, self._ended_in_view)

    def _ended_in_view(self) -> None:
        if self._node is not None and not self._placer.placeModeEnabled:
            self.finish()


def add_hidden(class_name: str, name: str, color: Color, glyph: Optional[int] = None) -> Any:
    """Adds a markups node that is drawn but neither listed nor saved; returns it."""
    node = getattr(slicer, class_name)()
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    node.SetHideFromEditors(True)  # before it is added, so that no list ever has it
    node.SetSaveWithScene(False)
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    if class_name == CURVE:
        node.SetCurveTypeToLinear()
    _color(node.GetDisplayNode(), color, glyph)
    return node


def _color(display: Any, color: Tuple[float, float, float], glyph: Optional[int]) -> None:
    display.SetSaveWithScene(False)
    for setter in (display.SetColor, display.SetSelectedColor, display.SetActiveColor):
        setter(*color)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetGlyphScale(3.0)
    if glyph is not None:
        display.SetGlyphType(glyph)

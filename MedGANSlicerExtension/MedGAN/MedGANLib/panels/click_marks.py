"""The corrections in the views, each in its label's colour; what removes is a cross, what adds is a dot."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import slicer

from ..corrections import Correction
from ..records import Color
from ..volumes import affine
from .click_input import CURVE, FIDUCIALS, add_hidden

Look = Callable[[str], Tuple[Color, bool]]
"""Returns the colour of a label, and whether it removes."""


class ClickMarks:
    """Draws the state's corrections as locked markups: one node a label for clicks, one a scribble."""

    def __init__(self) -> None:
        self._nodes: List[str] = []
        self._shown: Any = None

    def show(self, corrections: Sequence[Correction], volume: Any, look: Look) -> None:
        """Draws corrections of a volume, if they or its place have changed."""
        there = corrections if volume is not None else ()
        matrix = affine(volume) if there else np.eye(4)
        shown = (volume.GetID() if there else "", tuple(there), tuple(matrix.ravel()))
        if shown == self._shown:
            return
        self.clear()
        self._shown = shown
        for label, places in _clicks(there, matrix).items():
            self._add(FIDUCIALS, label, places, look)
        for item in there:
            if len(item.voxels) > 1:
                self._add(CURVE, item.label, item.places(matrix), look)

    def clear(self) -> None:
        """Takes all marks out of the scene."""
        for node in [slicer.mrmlScene.GetNodeByID(node_id) for node_id in self._nodes]:
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._nodes, self._shown = [], None

    def forget_scene(self) -> None:
        """Called when the scene is closed: its nodes are gone."""
        self._nodes, self._shown = [], None

    def _add(self, class_name: str, label: str, places: Sequence[Sequence[float]], look: Look) -> None:
        color, removes = look(label)
        kind = slicer.vtkMRMLMarkupsDisplayNode
        glyph = kind.ThickCross2D if removes else kind.Circle2D
        node = add_hidden(class_name, f"{label} corrections", color, glyph)
        for place in places:
            node.AddControlPointWorld(*place)
        node.SetLocked(True)
        self._nodes.append(node.GetID())


def _clicks(corrections: Sequence[Correction], matrix: np.ndarray) -> Dict[str, List[List[float]]]:
    """Returns label -> the places of its single clicks."""
    found: Dict[str, List[List[float]]] = {}
    for item in corrections:
        if len(item.voxels) == 1:
            found.setdefault(item.label, []).extend(item.places(matrix))
    return found

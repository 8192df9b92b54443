"""The word SYNTHETIC at the upper edge of every slice view that shows a synthetic volume, wherever it came from."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import slicer
import vtk

from ..marks import view_mark
from ..workflow import State
from .shared import Shared

UPPER_EDGE = 7
"""Position of `vtkCornerAnnotation` that Slicer's own annotations leave free."""
COMPOSITE = "vtkMRMLSliceCompositeNode"
WORDS = ("SYNTHETIC", "ALTERED", "RECONSTRUCTED", "HEAT MAP")
"""What a view can show, the farthest from what was measured first."""


class SliceMarks:
    """Follows what the slice views show; the scene itself is not changed, so there is nothing to undo or to save."""

    def __init__(self, shared: Shared) -> None:
        self._scene = slicer.mrmlScene
        self._observed: Dict[str, Tuple[Any, int]] = {}
        events = (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent)
        self._tags: List[int] = [self._scene.AddObserver(event, self._scene_changed) for event in events]
        self._follow()

    def show(self, state: State) -> None:
        """Marks the views that show what was not acquired."""
        self._follow()

    def cleanup(self) -> None:
        """Called when the module is unloaded: stops following, and takes the marks away."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        for composite, tag in self._observed.values():
            composite.RemoveObserver(tag)
            _write(composite.GetLayoutName(), "")
        self._tags, self._observed = [], {}

    def _scene_changed(self, caller: Any, event: str) -> None:
        self._follow()

    def _follow(self) -> None:
        count = self._scene.GetNumberOfNodesByClass(COMPOSITE)
        composites = [self._scene.GetNthNodeByClass(index, COMPOSITE) for index in range(count)]
        present = {composite.GetID(): composite for composite in composites}
        for node_id in set(self._observed) - set(present):
            node, tag = self._observed.pop(node_id)
            node.RemoveObserver(tag)
        for node_id, composite in present.items():
            if node_id not in self._observed:
                tag = composite.AddObserver(vtk.vtkCommand.ModifiedEvent, self._view_changed)
                self._observed[node_id] = (composite, tag)
            self._mark(composite)

    def _view_changed(self, composite: Any, event: str) -> None:
        self._mark(composite)

    def _mark(self, composite: Any) -> None:
        shown = [composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()]
        volumes = [self._scene.GetNodeByID(node_id) for node_id in shown if node_id]
        words = {view_mark(volume) for volume in volumes if volume is not None}
        _write(composite.GetLayoutName(), next((word for word in WORDS if word in words), ""))


def _write(view_name: str, text: str) -> None:
    manager = slicer.app.layoutManager()
    widget = manager.sliceWidget(view_name) if manager else None
    view = widget.sliceView() if widget else None
    if view is None:
        return
    annotation = view.cornerAnnotation()
    if (annotation.GetText(UPPER_EDGE) or "") != text:
        annotation.SetText(UPPER_EDGE, text)
        annotation.GetTextProperty().SetColor(1.0, 0.77, 0.0)
        view.scheduleRender()

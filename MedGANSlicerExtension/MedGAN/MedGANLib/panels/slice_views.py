"""What the slice views show of a result and where they look, and how they are given back as they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple

import slicer
import slicer.util
import vtk

SIDE_BY_SIDE = slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
LEFT, RIGHT = "Red", "Yellow"
"""The views of that layout."""
Over = Tuple[Any, float]
"""A volume that lies over another one, and its opacity."""


@dataclass
class _Kept:
    """The layout and the views as they were before two of them were put side by side."""

    layout: int
    linked: Dict[str, bool]
    plane: Any


class SliceViews:
    """Shows volumes in the slice views; nothing but layers, layout and the plane of one view is changed."""

    def __init__(self) -> None:
        self._kept: Optional[_Kept] = None

    def everywhere(self, below: Any, over: Optional[Over] = None, fit: bool = False) -> None:
        """Shows one volume in all views, perhaps with another one over it."""
        self.give_back()
        node, opacity = over or (None, 0.0)
        slicer.util.setSliceViewerLayers(background=below, foreground=node, foregroundOpacity=opacity, fit=fit)

    def side_by_side(self, before: Any, after: Any, over: Optional[Over] = None) -> None:
        """Shows one volume left and another one right, in the same plane, moving together."""
        if slicer.app.layoutManager() is None:
            return
        fresh = self._kept is None
        if fresh:
            self._keep()
        self._layers(LEFT, before)
        self._layers(RIGHT, after, over)
        if fresh:
            self._align()

    def uncover(self, nodes: Sequence[str]) -> None:
        """Takes volumes, given by their IDs, away where they lie over others."""
        scene, kind = slicer.mrmlScene, "vtkMRMLSliceCompositeNode"
        for index in range(scene.GetNumberOfNodesByClass(kind)):
            composite = scene.GetNthNodeByClass(index, kind)
            if composite.GetForegroundVolumeID() in nodes:
                composite.SetForegroundVolumeID(None)

    def give_back(self) -> None:
        """Puts layout, planes and links back, unless the user has chosen another layout meanwhile."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        manager = slicer.app.layoutManager()
        if manager.layout == SIDE_BY_SIDE:
            manager.setLayout(kept.layout)
        for name, linked in kept.linked.items():
            _composite(name).SetLinkedControl(linked)
        _set_plane(RIGHT, kept.plane)

    def _keep(self) -> None:
        manager = slicer.app.layoutManager()
        layout = manager.layout
        manager.setLayout(SIDE_BY_SIDE)  # makes a view that there was not yet; one that was there keeps its plane
        plane = vtk.vtkMatrix4x4()
        plane.DeepCopy(_slice_node(RIGHT).GetSliceToRAS())
        linked = {name: bool(_composite(name).GetLinkedControl()) for name in (LEFT, RIGHT)}
        self._kept = _Kept(layout, linked, plane)

    @staticmethod
    def _align() -> None:
        """Lets both views show the same: plane, place and size; and lets them move together."""
        _set_plane(RIGHT, _slice_node(LEFT).GetSliceToRAS())
        for name in (LEFT, RIGHT):
            slicer.app.layoutManager().sliceWidget(name).sliceLogic().FitSliceToBackground()
        _set_plane(RIGHT, _slice_node(LEFT).GetSliceToRAS())  # fitting moved each to the middle of a slice of its own
        for name in (LEFT, RIGHT):
            _composite(name).SetLinkedControl(True)

    @staticmethod
    def _layers(name: str, below: Any, over: Optional[Over] = None) -> None:
        composite = _composite(name)
        composite.SetBackgroundVolumeID(below.GetID())
        composite.SetForegroundVolumeID(over[0].GetID() if over else None)
        composite.SetForegroundOpacity(over[1] if over else 0.0)


class Pointer:
    """Takes the slice views to a place and marks it with Slicer's crosshair, which is put away again afterwards."""

    def __init__(self) -> None:
        self._turned_on = False

    def point_at(self, place: Tuple[float, float, float]) -> None:
        """Shows a place, in RAS millimetres, in all slice views."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *place)
        crosshair = _crosshair()
        if crosshair is None:
            return
        crosshair.SetCrosshairRAS(*place)
        if crosshair.GetCrosshairMode() == crosshair.NoCrosshair:
            crosshair.SetCrosshairMode(crosshair.ShowSmallBasic)
            self._turned_on = True

    def give_back(self) -> None:
        """Hides the crosshair, unless it was the user who showed it."""
        crosshair = _crosshair()
        if self._turned_on and crosshair is not None:
            crosshair.SetCrosshairMode(crosshair.NoCrosshair)
        self._turned_on = False


def _crosshair() -> Any:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def _slice_node(name: str) -> Any:
    return slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()


def _composite(name: str) -> Any:
    return slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceCompositeNode()


def _set_plane(name: str, plane: Any) -> None:
    node = _slice_node(name)
    if node.GetSliceToRAS() is not plane:
        node.GetSliceToRAS().DeepCopy(plane)
        node.UpdateMatrices()

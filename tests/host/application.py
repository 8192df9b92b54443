"""The running application's side of ``slicer``: scene, ``slicer.app``, ``slicer.modules``, over the real MRML library.

Only what the real application has is offered; anything else raises AttributeError because these are ordinary classes.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import pythonqt

SLICES = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class ModuleLogics:
    """The scene and the logics of Slicer's own modules, wired as the application wires them."""

    def __init__(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self.by_name: dict[str, Any] = {}
        self._add("Colors", slicer.vtkMRMLColorLogic())
        self._add("Volumes", slicer.vtkSlicerVolumesLogic())
        self._add("Markups", slicer.vtkSlicerMarkupsLogic())
        self._add("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic())
        self.slices = self._make_slices()
        self.application.SetSliceLogics(self.slices)
        self.application.SetViewLogics(vtk.vtkCollection())
        self.scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")

    def _add(self, name: str, logic: Any) -> None:
        self.application.SetModuleLogic(name, logic)
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.scene)
        self.by_name[name] = logic

    def _make_slices(self) -> Any:
        logics = vtk.vtkCollection()
        for name, orientation in SLICES.items():
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(self.application)
            logic.SetMRMLScene(self.scene)
            node = logic.AddSliceNode(name)
            node.SetOrientation(orientation)
            logics.AddItem(logic)
        return logics


class SliceView:
    """What `sliceWidget.sliceView()` offers: the annotation in the view's corners; nothing is drawn."""

    def __init__(self) -> None:
        self._annotation = vtk.vtkCornerAnnotation()

    def cornerAnnotation(self) -> Any:
        """Returns the annotation."""
        return self._annotation

    def scheduleRender(self) -> None:
        """Draws the view soon."""


class SliceWidget:
    """What `layoutManager().sliceWidget(name)` offers."""

    def __init__(self, logic: Any, view: SliceView) -> None:
        self._logic = logic
        self._view = view

    def sliceView(self) -> SliceView:
        """Returns the view."""
        return self._view

    def sliceLogic(self) -> Any:
        """Returns the slice logic."""
        return self._logic

    def mrmlSliceNode(self) -> Any:
        """Returns the slice node."""
        return self._logic.GetSliceNode()


class LayoutManager:
    """The layout manager's slice views; nothing is drawn."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices
        self.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self._views = {name: SliceView() for name in SLICES}

    def setLayout(self, layout: int) -> None:
        """Changes the arrangement of the views."""
        self.layout = layout

    def sliceViewNames(self) -> tuple[str, ...]:
        """Returns the names of the slice views."""
        return tuple(SLICES)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """Returns a slice view by name; None when the layout has none of that name."""
        if name not in SLICES:
            return None
        return SliceWidget(self._slices.GetItemAsObject(list(SLICES).index(name)), self._views[name])

    def mrmlSliceLogics(self) -> Any:
        """Returns the slice logics."""
        return self._slices


class _Signals(QtCore.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    startupCompleted = QtCore.Signal()


class ModuleManager:
    """Knows the loaded modules, and tells when one is about to go."""

    def __init__(self) -> None:
        self._modules: dict[str, Any] = {}
        self._signals = pythonqt.wrap(_Signals())
        self.connect: Callable[..., bool] = self._signals.connect
        self.disconnect: Callable[..., bool] = self._signals.disconnect

    def module(self, name: str) -> Any:
        """Returns a loaded module, or None."""
        return self._modules.get(name)

    def _about_to_unload(self, name: str) -> None:
        self._signals.moduleAboutToBeUnloaded.emit(name)


class Application:
    """``slicer.app``."""

    applicationName = "Slicer"
    majorVersion = 5
    minorVersion = 8

    def __init__(self, logics: ModuleLogics, folder: Path) -> None:
        self._logics = logics
        self._layout = LayoutManager(logics.slices)
        self._manager = ModuleManager()
        self._testing = False
        self._signals = pythonqt.wrap(_Signals())
        self.connect: Callable[..., bool] = self._signals.connect
        self.temporaryPath = str(folder)
        self.slicerHome = str(folder)

    def applicationLogic(self) -> Any:
        """Returns the application logic."""
        return self._logics.application

    def mrmlScene(self) -> Any:
        """Returns the scene."""
        return self._logics.scene

    def layoutManager(self) -> LayoutManager:
        """Returns the layout manager."""
        return self._layout

    def moduleManager(self) -> ModuleManager:
        """Returns the module manager."""
        return self._manager

    def userSettings(self) -> Any:
        """Returns the user's settings."""
        return pythonqt.wrap(QtCore.QSettings())

    def testingEnabled(self) -> bool:
        """True when Slicer was started with --testing: message boxes are skipped."""
        return self._testing

    def topLevelWidgets(self) -> list[Any]:
        """Returns the windows; the host has no main window."""
        return []

    def processEvents(self) -> None:
        """Lets Qt work."""
        QtWidgets.QApplication.processEvents()

    def translate(self, context: str, text: str) -> str:
        """Returns the text: the host speaks English."""
        return text


class Module:
    """A module of the application, e.g. ``slicer.modules.segmentations``."""

    def __init__(self, name: str, logic: Any, path: str = "") -> None:
        self.name = name
        self.path = path
        self._logic = logic
        self._widget: Any = None

    def logic(self) -> Any:
        """Returns the module's logic."""
        return self._logic

    def widgetRepresentation(self) -> Any:
        """Returns the module's widget."""
        return self._widget


class ScriptedModuleWidget:
    """``slicer.qSlicerScriptedLoadableModuleWidget``: between the application and a widget written in Python."""

    def __init__(self, python_widget: Any) -> None:
        self._python_widget = python_widget

    def self(self) -> Any:
        """Returns the Python widget."""
        return self._python_widget


def make_modules(logics: ModuleLogics) -> types.SimpleNamespace:
    """Returns ``slicer.modules`` with Slicer's own modules."""
    own = {name.lower(): Module(name, logic) for name, logic in logics.by_name.items()}
    return types.SimpleNamespace(**own)

"""A strict stand-in for the 3D Slicer application, to run the module's interface and its self-test without it.

`install` puts ``qt``, ``ctk``, ``slicer.app``, ``slicer.mrmlScene``, ``slicer.modules``, Slicer's widgets and its
Python packages in place, over PySide6 and the real MRML library (package slicer-core). `Host.close` takes everything
out again, so that other tests of the same pytest process see the bare slicer-core as before. One host at a time.

It cannot stand for the real thing in: Segment Editor effects, real qMRML and ctk drawing, DICOM, PythonQt's own bugs.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from . import application, dialogs, pythonqt, qmrml_widgets, qt_module, scripted

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "MedGANSlicerExtension" / "MedGAN"
_active: list[Host] = []


def install(folder: Path) -> Host:
    """Puts the stand-ins in place.

    Args:
        folder: For settings and temporary files.

    Raises:
        RuntimeError: a host is installed already.
    """
    if _active:
        raise RuntimeError("a host is installed already; close it first")
    host = Host(folder)
    _active.append(host)
    return host


class Host:
    """The installed stand-ins.

    Attributes:
        desk: The user who answers modal dialogs (see `dialogs.Desk`).
        scene: The MRML scene.
        slot_errors: Tracebacks of errors inside slots, and Qt's own warnings; must stay empty.
    """

    def __init__(self, folder: Path) -> None:
        self.qapplication = _qapplication(folder)
        self.desk = dialogs.desk
        self.slot_errors = pythonqt.slot_errors
        self.desk.answers.clear()
        self.desk.paths.clear()
        self.desk.shown.clear()
        self.desk.on_show = None
        self.slot_errors.clear()
        self._logics = application.ModuleLogics()
        self.scene = self._logics.scene
        self._saved_modules = set(sys.modules)
        self._attributes = self._put_attributes(folder)
        self._put_packages()

    def _put_attributes(self, folder: Path) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "app": application.Application(self._logics, folder),
            "mrmlScene": self.scene,
            "modules": application.make_modules(self._logics),
            "selfTests": {},
            "qSlicerScriptedLoadableModuleWidget": application.ScriptedModuleWidget,
            **scripted.wrap_widgets(),
        }
        for name, value in attributes.items():
            setattr(slicer, name, value)
        return attributes

    def _put_packages(self) -> None:
        qt_module.UiLoader.custom = [*qt_module.CTK_CLASSES.values(), *qmrml_widgets.SLICER_WIDGETS.values()]
        sys.modules["qt"], sys.modules["ctk"] = qt_module.make_qt(), qt_module.make_ctk()
        sys.modules["SampleData"] = scripted.make_sample_data()
        for name, package in scripted.make_packages().items():
            sys.modules[name] = package
            setattr(slicer, name.split(".")[1], package)
            self._attributes[name.split(".")[1]] = package

    def load_module(self, name: str = "MedGAN", path: Path | None = None) -> LoadedModule:
        """Imports a scripted module and makes its widget, as the application does when the user opens it."""
        file = path or MODULE_FOLDER / f"{name}.py"
        if str(file.parent) not in sys.path:
            sys.path.insert(0, str(file.parent))
        python = importlib.import_module(name)
        parent = types.SimpleNamespace(path=str(file), name=name)
        instance = getattr(python, name)(parent)
        entry = application.Module(name, None, str(file))
        setattr(slicer.modules, name.lower(), entry)
        slicer.app.moduleManager()._modules[name] = entry
        panel = pythonqt.wrap(qmrml_widgets.ModulePanel())
        panel.setMRMLScene(self.scene)
        loaded = LoadedModule(name, python, instance, panel, entry)
        slicer.app._signals.startupCompleted.emit()
        return loaded

    def process(self, milliseconds: int = 10) -> None:
        """Lets Qt work for a while."""
        loop = QtCore.QEventLoop()
        QtCore.QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def close(self) -> None:
        """Takes the stand-ins out again."""
        for widget in self.qapplication.topLevelWidgets():
            widget.close()
        QtCore.qInstallMessageHandler(None)
        self.scene.Clear(1)
        for name in self._attributes:
            delattr(slicer, name)
        for name in set(sys.modules) - self._saved_modules:
            if name in ("qt", "ctk", "SampleData") or name.startswith(("slicer.", "MedGAN")):
                del sys.modules[name]
        _active.remove(self)


class LoadedModule:
    """A scripted module in the host: its Python module, instance, widget and the panel it fills."""

    def __init__(self, name: str, python: Any, instance: Any, panel: Any, entry: application.Module) -> None:
        self.name = name
        self.python = python
        self.instance = instance
        self.panel = panel
        self._entry = entry
        self.widget = self._make_widget()

    def _make_widget(self) -> Any:
        widget = getattr(self.python, f"{self.name}Widget")(self.panel)
        setattr(slicer.modules, f"{self.name}Widget", widget)
        self._entry._widget = application.ScriptedModuleWidget(widget)
        widget.setup()
        return widget

    def enter(self) -> None:
        """The user opens the module."""
        self.panel._qt.entered = True
        self.widget.enter()

    def exit(self) -> None:
        """The user opens another module."""
        self.panel._qt.entered = False
        self.widget.exit()

    def reload(self) -> None:
        """The developer presses Reload: the old widgets are hidden, new ones are made in the same panel."""
        for child in self.panel._qt.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.hide()
        self.widget.cleanup()
        manager = slicer.app.moduleManager()
        manager.disconnect("moduleAboutToBeUnloaded(QString)", self.widget._onModuleAboutToBeUnloaded)
        while self.panel._qt.layout().takeAt(0):
            pass
        self.python = importlib.reload(self.python)
        self.widget = self._make_widget()

    def grab(self, path: Path, width: int = 420) -> Path:
        """Draws the panel, as tall as it wants to be, into a PNG."""
        self.panel._qt.setFixedWidth(width)
        self.panel._qt.show()
        for _ in range(3):
            QtWidgets.QApplication.processEvents()
            self.panel._qt.resize(width, self.panel._qt.layout().totalHeightForWidth(width))
        margin = self.panel._qt.layout().contentsMargins()
        contents = max(w._qt.geometry().bottom() for w in self.panel.children()[1].children() if w.inherits("QWidget"))
        area = QtCore.QRect(0, 0, width, contents + margin.top() + margin.bottom())
        self.panel._qt.grab(area).save(str(path))
        return path

    def unload(self) -> None:
        """Ends the module, as the application does when it quits."""
        slicer.app.moduleManager()._about_to_unload(self.name)
        self.panel._qt.deleteLater()


def _keep_warning(kind: QtCore.QtMsgType, _: object, text: str) -> None:
    if kind != QtCore.QtMsgType.QtDebugMsg and "propagateSizeHints" not in text:
        pythonqt.slot_errors.append(f"Qt: {text}")


def _qapplication(folder: Path) -> QtWidgets.QApplication:
    existing = QtWidgets.QApplication.instance()
    app = existing if isinstance(existing, QtWidgets.QApplication) else QtWidgets.QApplication(["Slicer"])
    QtCore.qInstallMessageHandler(_keep_warning)
    app.setOrganizationName("MedGANTests")
    app.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder))
    app.setStyle("Fusion")
    app.setPalette(_light_palette())
    app.setFont(QtGui.QFont("DejaVu Sans", 9))
    return app


def _light_palette() -> QtGui.QPalette:
    """The colours of Slicer's light style, more or less."""
    roles = QtGui.QPalette.ColorRole
    palette = QtGui.QPalette(QtGui.QColor("#efefef"))
    palette.setColor(roles.Window, QtGui.QColor("#efefef"))
    palette.setColor(roles.Base, QtGui.QColor("#ffffff"))
    palette.setColor(roles.Highlight, QtGui.QColor("#308cc6"))
    return palette

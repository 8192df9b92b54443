"""Stand-ins for Slicer's Python packages that the slicer-core wheel lacks.

``slicer.ScriptedLoadableModule``, ``slicer.i18n``, ``slicer.testing`` and ``slicer.parameterNodeWrapper`` with the
behaviour that scripted modules rely on.
"""

from __future__ import annotations

import types
import typing
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk

from . import pythonqt, qmrml_widgets


class ScriptedLoadableModule:
    """Base of a module: its description goes into `parent`."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []

    def resourcePath(self, filename: str) -> str:
        """Returns the path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    """Base of a module's widget: `parent` is the empty panel, `layout` its layout."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """Returns the path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Makes the panel."""

    def cleanup(self) -> None:
        """Called before the module goes."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base of a module's logic: it owns the parameter node."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Returns the module's one parameter node in the scene, made when missing."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of a module's self-test."""

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        """Shows a message for a moment; here it lets Qt work."""
        slicer.app.processEvents()

    def runTest(self) -> None:
        """Runs the tests."""


def run_unit_test(path: str | list[str], testname: str) -> None:
    """`slicer.testing.runUnitTest`: runs the tests of a module and raises when one fails."""
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestLoader().loadTestsFromName(testname))
    if not result.wasSuccessful():
        raise RuntimeError("\n".join(text for _, text in [*result.failures, *result.errors]))


# --- parameterNodeWrapper ---------------------------------------------------------------------------------------------

_TEXT: dict[type, tuple[Callable[[Any], str], Callable[[str], Any], Any]] = {
    str: (str, str, ""),
    int: (str, int, 0),
    float: (repr, float, 0.0),
    bool: (str, lambda text: text == "True", False),
}
PARAMETER_PROPERTY = "SlicerParameterName"


def parameter_node_wrapper(cls: type) -> type:
    """Turns an annotated class into typed access to a parameter node, as Slicer's decorator does.

    Raises:
        TypeError: an annotation is neither str, int, float, bool nor a MRML node class.
    """
    hints = typing.get_type_hints(cls)
    for name, kind in hints.items():
        if kind not in _TEXT and not issubclass(kind, slicer.vtkMRMLNode):
            raise TypeError(f"{cls.__name__}.{name}: no serializer for {kind}")
        setattr(cls, name, _parameter(name, kind, getattr(cls, name, None)))
    members = {"__init__": _init, "connectGui": _connect_gui, "disconnectGui": _disconnect_gui}
    members["connectParametersToGui"] = _connect_parameters_to_gui
    for name in ("AddObserver", "RemoveObserver", "StartModify", "EndModify", "Modified"):
        members[name] = lambda self, *args, _name=name: getattr(self.parameterNode, _name)(*args)
    for name, member in {**members, "_kinds": hints}.items():
        setattr(cls, name, member)
    return cls


def _parameter(name: str, kind: type, default: Any) -> property:
    if kind not in _TEXT:

        def set_node(self: Any, node: Any) -> None:
            accepted = node is None or isinstance(node, kind)
            if not accepted:
                raise TypeError(f"{name} takes a {kind.__name__}, not a {type(node).__name__}")
            self.parameterNode.SetNodeReferenceID(name, node.GetID() if node else None)

        return property(lambda self: self.parameterNode.GetNodeReference(name), set_node)
    write, read, zero = _TEXT[kind]
    start = zero if default is None else default

    def get_value(self: Any) -> Any:
        text = self.parameterNode.GetParameter(name)
        return read(text) if self.parameterNode.HasParameter(name) else start

    def set_value(self: Any, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{name} takes a {kind.__name__}, not {value!r}")
        self.parameterNode.SetParameter(name, write(value))

    return property(get_value, set_value)


def _init(self: Any, parameterNode: Any) -> None:
    self.parameterNode = parameterNode
    self._guis = {}


def _connect_gui(self: Any, ui: Any) -> None:
    """Returns nothing, as in Slicer 5.8: what was connected by it cannot be disconnected."""
    found = [w for w in vars(ui).values() if w.property(PARAMETER_PROPERTY)]
    _connect_parameters_to_gui(self, {widget.property(PARAMETER_PROPERTY): widget for widget in found})


def _connect_parameters_to_gui(self: Any, mapping: dict[str, Any]) -> int:
    tag = len(self._guis)
    links = [_Link(self, widget, name) for name, widget in mapping.items()]
    observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _show_all(links))
    self._guis[tag] = (links, observer)
    return tag


def _show_all(links: list[_Link]) -> None:
    for link in links:
        link.show()


def _disconnect_gui(self: Any, tag: int | None) -> None:
    if tag not in self._guis:
        return
    links, observer = self._guis.pop(tag)
    self.parameterNode.RemoveObserver(observer)
    for link in links:
        link.cut()


class _Link:
    """A two-way connection between a node selector and a parameter (the only kind the module uses)."""

    def __init__(self, wrapper: Any, widget: Any, name: str) -> None:
        if not isinstance(widget._qt, qmrml_widgets.qMRMLNodeComboBox):
            raise RuntimeError(f"the host cannot connect parameter '{name}' to a {widget.className()}")
        if name not in wrapper._kinds:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        self._wrapper, self._widget, self._name = wrapper, widget, name
        self._busy = False
        self.show()
        widget.connect("currentNodeChanged(vtkMRMLNode*)", self._read)

    def show(self) -> None:
        """Shows the parameter in the widget."""
        if not self._busy:
            self._busy = True
            self._widget.setCurrentNode(getattr(self._wrapper, self._name))
            self._busy = False

    def _read(self, node: Any) -> None:
        if not self._busy:
            setattr(self._wrapper, self._name, node)

    def cut(self) -> None:
        """Undoes the connection."""
        self._widget.disconnect("currentNodeChanged(vtkMRMLNode*)", self._read)


def make_packages() -> dict[str, types.ModuleType]:
    """Returns the packages by their full names."""
    contents: dict[str, dict[str, Any]] = {
        "ScriptedLoadableModule": {
            c.__name__: c
            for c in (
                ScriptedLoadableModule,
                ScriptedLoadableModuleWidget,
                ScriptedLoadableModuleLogic,
                ScriptedLoadableModuleTest,
            )
        },
        "parameterNodeWrapper": {"parameterNodeWrapper": parameter_node_wrapper},
        "i18n": {"tr": lambda text: text, "translate": lambda context, text: text},
        "testing": {"runUnitTest": run_unit_test},
    }
    packages = {}
    for name, members in contents.items():
        packages[f"slicer.{name}"] = package = types.ModuleType(f"slicer.{name}")
        vars(package).update(members)
    return packages


class SampleDataLogic:
    """Sample Data's register; the sources are kept in ``slicer.modules.sampleDataSources``."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: Any = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: Any = None,
        loadFileType: str = "VolumeFile",
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Keeps a source; as in the application, `uris` must be text or a list as long as the others."""
        if not isinstance(uris, (str, list, tuple)):
            raise TypeError("uris must be a string or a list")
        if thumbnailFileName and not Path(thumbnailFileName).is_file():
            raise FileNotFoundError(thumbnailFileName)
        sources = vars(slicer.modules).setdefault("sampleDataSources", {})
        sources.setdefault(category, []).append(
            types.SimpleNamespace(sampleName=sampleName, customDownloader=customDownloader)
        )


def make_sample_data() -> types.ModuleType:
    """Returns the module ``SampleData``."""
    module = types.ModuleType("SampleData")
    vars(module)["SampleDataLogic"] = SampleDataLogic
    return module


def wrap_widgets() -> dict[str, Any]:
    """Returns Slicer's widget classes as PythonQt shows them."""
    return {name: pythonqt.wrap_class(cls) for name, cls in qmrml_widgets.SLICER_WIDGETS.items()}

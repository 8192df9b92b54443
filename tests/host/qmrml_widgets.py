"""Stand-ins for Slicer's widgets over a real MRML scene: the subset that the module uses, with the application's names.

Signals that carry a VTK object name their C++ signature in ``CPP_SIGNALS`` (see `pythonqt.signal_signatures`).
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

EFFECTS = ("Threshold", "Paint", "Draw", "Erase", "Grow from seeds", "Smoothing", "Scissors", "Islands")


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows a scene."""

    mrmlSceneChanged = QtCore.Signal(object)
    CPP_SIGNALS: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        """Sets the scene and tells it."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """Returns the scene."""
        return self._scene


class ModulePanel(qMRMLWidget):
    """The panel that a scripted module fills; `isEntered` tells whether the user is in the module."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = False
        self.setLayout(QtWidgets.QVBoxLayout())

    isEntered = QtCore.Property(bool, lambda self: self.entered)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A combo box of the scene's nodes of some types; disabled until it has a scene, like the original."""

    _currentNode = QtCore.Signal(object)
    _currentNodeID = QtCore.Signal(str)
    _validNode = QtCore.Signal(bool)
    CPP_SIGNALS: ClassVar[dict[str, str]] = {
        "currentNodeChanged(vtkMRMLNode*)": "_currentNode",
        "currentNodeChanged(bool)": "_validNode",
        "currentNodeIDChanged(QString)": "_currentNodeID",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observers: list[int] = []
        self._types: list[str] = []
        self._settings: dict[str, Any] = {}
        self._nodes: list[Any] = []
        self._current: Any = None
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(self._on_activated)
        self._box.setEnabled(False)
        self.destroyed.connect(lambda *_: self._unobserve())

    def setMRMLScene(self, scene: Any) -> None:
        """Follows a scene: its nodes come and go in the list."""
        self._unobserve()
        self._scene = scene
        events = (
            slicer.vtkMRMLScene.NodeAddedEvent,
            slicer.vtkMRMLScene.NodeRemovedEvent,
            slicer.vtkMRMLScene.EndCloseEvent,
        )
        self._observers = [scene.AddObserver(e, self._on_scene) for e in events] if scene else []
        self._box.setEnabled(scene is not None)
        self._refresh()

    def mrmlScene(self) -> Any:
        """Returns the scene."""
        return self._scene

    def currentNode(self) -> Any:
        """Returns the chosen node, or None."""
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        """Chooses a node of the list; one that is not listed means none."""
        self._refresh()
        self._choose(node if node in self._nodes else None)

    def nodeCount(self) -> int:
        """Returns how many nodes can be chosen."""
        return len(self._nodes)

    def addNode(self, *node_type: str) -> Any:
        """Adds a node of the first type (or the one given) and chooses it."""
        node = self._scene.AddNewNodeByClass(
            node_type[0] if node_type else self._types[0], self._settings.get("baseName", "")
        )
        self.setCurrentNode(node)
        return node

    def _unobserve(self) -> None:
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._observers = []

    def _on_scene(self, *_: Any) -> None:
        self._refresh()

    def _listed(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [
            n for n in nodes if any(n.IsA(t) for t in self._types) and not n.GetHideFromEditors() and self._kind_ok(n)
        ]

    def _kind_ok(self, node: Any) -> bool:
        hidden = any(node.IsA(t) for t in self._settings.get("hideChildNodeTypes", []))
        exact = node.GetClassName() in self._types
        return exact or (self._settings.get("showChildNodeTypes", True) and not hidden)

    def _refresh(self) -> None:
        self._nodes = self._listed()
        none_enabled = self._settings.get("noneEnabled", False)
        keep = self._current if self._current in self._nodes else None
        if keep is None and self._nodes and not none_enabled:
            keep = self._nodes[0]
        self._box.clear()
        if none_enabled:
            self._box.addItem(self._settings.get("noneDisplay", "None"), None)
        for node in self._nodes:
            self._box.addItem(node.GetName(), node.GetID())
        self._choose(keep)

    def _choose(self, node: Any) -> None:
        self._box.setCurrentIndex(self._box.findData(node.GetID() if node else None))
        if node is self._current:
            return
        self._current = node
        self._currentNode.emit(node)
        self._currentNodeID.emit(node.GetID() if node else "")
        self._validNode.emit(node is not None)

    def _on_activated(self, index: int) -> None:
        node_id = self._box.itemData(index)
        self._choose(self._scene.GetNodeByID(node_id) if node_id else None)

    def _get_id(self) -> str:
        return self._current.GetID() if self._current else ""

    def _set_id(self, node_id: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if node_id and self._scene else None)

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)  # type: ignore[arg-type]
    currentNodeID = QtCore.Property(str, _get_id, _set_id)

    def _setting(kind: Any, name: str, default: Any) -> Any:
        def setter(self: qMRMLNodeComboBox, value: Any) -> None:
            self._settings[name] = value
            self._refresh()

        return QtCore.Property(kind, lambda self: self._settings.get(name, default), setter)

    noneEnabled = _setting(bool, "noneEnabled", False)
    addEnabled = _setting(bool, "addEnabled", True)
    removeEnabled = _setting(bool, "removeEnabled", True)
    renameEnabled = _setting(bool, "renameEnabled", False)
    editEnabled = _setting(bool, "editEnabled", False)
    showChildNodeTypes = _setting(bool, "showChildNodeTypes", True)
    hideChildNodeTypes = _setting("QStringList", "hideChildNodeTypes", [])
    noneDisplay = _setting(str, "noneDisplay", "None")
    baseName = _setting(str, "baseName", "")
    selectNodeUponCreation = _setting(bool, "selectNodeUponCreation", True)


class qSlicerMarkupsPlaceWidget(QtWidgets.QWidget):
    """Puts the views into the mode in which a click places a control point of the current markups node."""

    activeMarkupsPlaceModeChanged = QtCore.Signal(bool)

    class PlaceMultipleMarkupsType(enum.IntEnum):
        """Whether a click is the only one."""

        ShowPlaceMultipleMarkupsOption = 0
        HidePlaceMultipleMarkupsOption = 1
        ForcePlaceSingleMarkup = 2
        ForcePlaceMultipleMarkups = 3

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._placing = False
        self._buttons = True
        self._multiple = 0

    def setMRMLScene(self, scene: Any) -> None:
        """Sets the scene."""
        self._scene = scene

    def setCurrentNode(self, node: Any) -> None:
        """Sets the markups node that clicks go to; placing ends when it is another one."""
        if node is not self._node:
            self._set_placing(False)
        self._node = node

    def currentNode(self) -> Any:
        """Returns the markups node that clicks go to."""
        return self._node

    def _set_placing(self, enabled: bool) -> None:
        if enabled and (self._node is None or self._scene is None):
            return
        if enabled != self._placing:
            self._placing = enabled
            self.activeMarkupsPlaceModeChanged.emit(enabled)

    def _set_buttons(self, visible: bool) -> None:
        self._buttons = visible

    placeModeEnabled = QtCore.Property(bool, lambda self: self._placing, _set_placing)
    buttonsVisible = QtCore.Property(bool, lambda self: self._buttons, _set_buttons)

    def _set_multiple(self, kind: int) -> None:
        self._multiple = int(kind)

    placeMultipleMarkups = QtCore.Property(int, lambda self: self._multiple, _set_multiple)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Segment Editor's place in the panel: the list of segments is real, the effects are buttons that do nothing.

    `saveStateForUndo` and `undo` keep copies of the segmentation, as the original does.
    """

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._editor_node: Any = None
        self._flags: dict[str, bool] = {}
        self._history: list[Any] = []
        self._observing = False
        self._shortcuts = False
        self._observed: tuple[Any, int] | None = None
        self._table = QtWidgets.QTableWidget(0, 2, self)
        self._build()

    def _build(self) -> None:
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.verticalHeader().hide()
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setColumnWidth(0, 34)
        self._table.setFixedHeight(110)
        self._table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        effects = QtWidgets.QGridLayout()
        effects.setSpacing(4)
        for index, name in enumerate(EFFECTS):
            button = QtWidgets.QToolButton(self)
            button.setText(name)
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            effects.addWidget(button, index // 4, index % 4)
        layout.addLayout(effects)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Sets the node that keeps what is being edited."""
        self._editor_node = node

    def mrmlSegmentEditorNode(self) -> Any:
        """Returns that node."""
        return self._editor_node

    def setSegmentationNode(self, node: Any) -> None:
        """Opens a segmentation; needs the editor node and the scene, as the original does."""
        if self._editor_node is None or self._scene is None:
            raise RuntimeError("setSegmentationNode before setMRMLSegmentEditorNode and setMRMLScene")
        if self._editor_node.GetSegmentationNode() is not node:
            self._history.clear()
        self._editor_node.SetAndObserveSegmentationNode(node)
        self._follow(node)
        self._show_segments()

    def segmentationNode(self) -> Any:
        """Returns the segmentation being edited."""
        return self._editor_node.GetSegmentationNode() if self._editor_node else None

    def setSourceVolumeNode(self, node: Any) -> None:
        """Sets the volume below the segments; a segmentation must be open."""
        if node is not None and self.segmentationNode() is None:
            raise RuntimeError("setSourceVolumeNode before setSegmentationNode")
        self._editor_node.SetAndObserveSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        """Returns the volume below the segments."""
        return self._editor_node.GetSourceVolumeNode() if self._editor_node else None

    def currentSegmentID(self) -> str:
        """Returns the selected segment's id."""
        return (self._editor_node.GetSelectedSegmentID() or "") if self._editor_node else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Selects a segment."""
        self._editor_node.SetSelectedSegmentID(segment_id)

    def setupViewObservations(self) -> None:
        """Effects hear clicks in the views; call on entering the module."""
        self._observing = True

    def removeViewObservations(self) -> None:
        """Effects hear no more clicks; call on leaving the module."""
        self._observing = False

    def installKeyboardShortcuts(self) -> None:
        """The main window hears the editor's keys; call on entering the module."""
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        """The keys are free again; call on leaving the module."""
        self._shortcuts = False

    def setActiveEffectByName(self, name: str) -> None:
        """Chooses an effect; an empty name chooses none."""
        if name and name not in EFFECTS:
            raise RuntimeError(f"no effect '{name}'")
        self._editor_node.SetActiveEffectName(name)

    def saveStateForUndo(self) -> None:
        """Keeps a copy of all segments."""
        node = self.segmentationNode()
        if node is not None:
            copy = slicer.vtkSegmentation()
            copy.DeepCopy(node.GetSegmentation())
            self._history.append(copy)

    def undo(self) -> None:
        """Puts back the last kept copy."""
        if self._history:
            self.segmentationNode().GetSegmentation().DeepCopy(self._history.pop())

    def _follow(self, node: Any) -> None:
        if self._observed:
            self._observed[0].RemoveObserver(self._observed[1])
        self._observed = None
        if node is not None:
            segmentation = node.GetSegmentation()
            self._observed = (segmentation, segmentation.AddObserver("AnyEvent", lambda *_: self._show_segments()))

    def _show_segments(self) -> None:
        node = self.segmentationNode()
        segmentation = node.GetSegmentation() if node else None
        ids = list(segmentation.GetSegmentIDs()) if segmentation else []
        self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            segment = node.GetSegmentation().GetSegment(segment_id)
            swatch = QtWidgets.QTableWidgetItem()
            swatch.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, swatch)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))

    def _flag(name: str, default: bool) -> Any:  # type: ignore[misc]
        def setter(self: qMRMLSegmentEditorWidget, value: bool) -> None:
            self._flags[name] = value

        return QtCore.Property(bool, lambda self: self._flags.get(name, default), setter)

    segmentationNodeSelectorVisible = _flag("segmentationNodeSelectorVisible", True)
    sourceVolumeNodeSelectorVisible = _flag("sourceVolumeNodeSelectorVisible", True)
    switchToSegmentationsButtonVisible = _flag("switchToSegmentationsButtonVisible", True)
    undoEnabled = _flag("undoEnabled", True)
    readOnly = _flag("readOnly", False)


SLICER_WIDGETS: dict[str, type] = {
    c.__name__: c for c in (qMRMLWidget, qMRMLNodeComboBox, qSlicerMarkupsPlaceWidget, qMRMLSegmentEditorWidget)
}

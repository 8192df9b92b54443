"""The modules ``qt`` and ``ctk``: the classes that PythonQt offers in 3D Slicer, as far as MedGAN needs them.

The list of classes is short on purpose. To use another one, check that PythonQt wraps it in Slicer 5.8 (Qt 5.15) as
well as in newer ones (Qt 6), then add its name.
"""

from __future__ import annotations

import types
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import ctk_widgets, dialogs, pythonqt

QT_CLASSES = frozenset(
    [
        "QAbstractButton",
        "QAbstractItemView",
        "QApplication",
        "QBrush",
        "QButtonGroup",
        "QCheckBox",
        "QColor",
        "QComboBox",
        "QDoubleSpinBox",
        "QEvent",
        "QFile",
        "QFileDialog",
        "QFont",
        "QFontMetrics",
        "QFormLayout",
        "QFrame",
        "QGridLayout",
        "QGroupBox",
        "QHBoxLayout",
        "QHeaderView",
        "QIcon",
        "QImage",
        "QKeySequence",
        "QLabel",
        "QLayout",
        "QLineEdit",
        "QMessageBox",
        "QObject",
        "QPainter",
        "QPainterPath",
        "QPalette",
        "QPen",
        "QPixmap",
        "QPlainTextEdit",
        "QPoint",
        "QPointF",
        "QPolygonF",
        "QProgressBar",
        "QPushButton",
        "QRect",
        "QRectF",
        "QScrollArea",
        "QSettings",
        "QShortcut",
        "QSize",
        "QSizeF",
        "QSizePolicy",
        "QSpacerItem",
        "QSpinBox",
        "QStandardPaths",
        "QTableWidget",
        "QTableWidgetItem",
        "QTextEdit",
        "QTimer",
        "QToolButton",
        "QUiLoader",
        "QUrl",
        "QVBoxLayout",
        "QWidget",
        "Qt",
    ]
)

CTK_CLASSES = {
    c.__name__: c
    for c in (
        ctk_widgets.ctkCollapsibleButton,
        ctk_widgets.ctkMessageBox,
        ctk_widgets.ctkPathLineEdit,
        ctk_widgets.ctkSliderWidget,
    )
}


class UiLoader(QtUiTools.QUiLoader):
    """QUiLoader with the custom widgets of CTK and Slicer; an unknown class in a file is an error."""

    custom: list[type] = list(CTK_CLASSES.values())

    def __init__(self) -> None:
        super().__init__()
        for widget in self.custom:
            self.registerCustomWidget(widget)

    def load(self, device: Any, parentWidget: Any = None) -> Any:
        """Reads a .ui file, as `slicer.util.loadUI` does.

        Raises:
            ValueError: the file names a widget that the application does not have.
        """
        known = {c.__name__ for c in self.custom} | QT_CLASSES
        used = {w.get("class") for w in ElementTree.parse(device.fileName()).iter("widget")}
        if not used <= known:
            raise ValueError(f"the application has no widgets {sorted(str(c) for c in used - known)}")
        return super().load(device, parentWidget)


REPLACED: dict[str, type] = {
    "QFileDialog": dialogs.QFileDialog,
    "QMessageBox": dialogs.QMessageBox,
    "QUiLoader": UiLoader,
}


class StrictModule(types.ModuleType):
    """A module whose attributes are looked up in a table, and which refuses everything else."""

    def __init__(self, name: str, classes: dict[str, type]) -> None:
        super().__init__(name)
        self._classes = classes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._classes:
            raise AttributeError(f"module '{self.__name__}' of the test host has no '{name}'")
        return pythonqt.wrap_class(self._classes[name])


def _find(name: str) -> type:
    if name in REPLACED:
        return REPLACED[name]
    owner = next(m for m in (QtWidgets, QtGui, QtCore) if hasattr(m, name))
    return getattr(owner, name)


def make_qt() -> StrictModule:
    """Returns the module ``qt``."""
    return StrictModule("qt", {name: _find(name) for name in sorted(QT_CLASSES)})


def make_ctk() -> StrictModule:
    """Returns the module ``ctk``."""
    return StrictModule("ctk", dict(CTK_CLASSES))

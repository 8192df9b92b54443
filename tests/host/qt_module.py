"""The modules ``qt`` and ``ctk``: Qt's and CTK's classes as PythonQt offers them in 3D Slicer, as far as MedGAN needs them.

The list of classes is short on purpose. To use another one, check that PythonQt wraps it in Slicer 5.8 (Qt 5.15) as well as in
newer ones (Qt 6), then add its name.
"""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import ctk_widgets, dialogs, pythonqt

QT_CLASSES = frozenset(
    """
    QAbstractButton QAbstractItemView QApplication QBrush QButtonGroup QCheckBox QColor QComboBox QDoubleSpinBox QEvent QFile QFont
    QFontMetrics QFormLayout QFrame QGridLayout QGroupBox QHBoxLayout QHeaderView QIcon QImage QKeySequence QLabel QLayout
    QLineEdit QMessageBox QObject QPainter QPainterPath QPalette QPen QPixmap QPlainTextEdit QPoint QPointF QPolygonF QProgressBar
    QPushButton QRect QRectF QScrollArea QSettings QShortcut QSize QSizeF QSizePolicy QSpacerItem QSpinBox QStandardPaths QTableWidget
    QTableWidgetItem QTextEdit QTimer QToolButton QUiLoader QUrl QVBoxLayout QWidget Qt
    """.split()
)

CTK_CLASSES = {c.__name__: c for c in (ctk_widgets.ctkCollapsibleButton, ctk_widgets.ctkMessageBox, ctk_widgets.ctkPathLineEdit)}


class UiLoader(QtUiTools.QUiLoader):
    """QUiLoader that knows the custom widgets of CTK and Slicer; an unknown class in a .ui file is an error, not a bare QWidget."""

    custom: list[type] = list(CTK_CLASSES.values())

    def __init__(self) -> None:
        super().__init__()
        for widget in self.custom:
            self.registerCustomWidget(widget)

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:  # noqa: N802 (Qt's name)
        """Makes one widget of the file; Qt calls this."""
        known = {c.__name__ for c in self.custom} | QT_CLASSES
        if class_name not in known:
            raise ValueError(f"{class_name}: the application has no such widget")
        return super().createWidget(class_name, parent, name)


REPLACED: dict[str, type] = {"QMessageBox": dialogs.QMessageBox, "QUiLoader": UiLoader}


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
    return getattr(owner, name)  # type: ignore[no-any-return]


def make_qt() -> StrictModule:
    """Returns the module ``qt``."""
    return StrictModule("qt", {name: _find(name) for name in sorted(QT_CLASSES)})


def make_ctk() -> StrictModule:
    """Returns the module ``ctk``."""
    return StrictModule("ctk", dict(CTK_CLASSES))

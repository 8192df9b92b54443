"""Stand-ins for the CTK widgets that the module uses, with CTK's properties, signals and behaviour."""
# ruff: noqa: N801, N802 - the names are CTK's

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A button whose children are shown below it unless it is collapsed."""

    contentsCollapsed = QtCore.Signal(bool)  # noqa: N815

    def __init__(self, *args: Any) -> None:
        text = args[0] if args and isinstance(args[0], str) else ""
        parent = next((a for a in args if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._on_toggled)
        self._reserve_header()

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _collapsed, _set_collapsed, notify=contentsCollapsed)

    def _on_toggled(self, expanded: bool) -> None:
        self._reserve_header()
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def _reserve_header(self) -> None:
        expanded = self.isChecked()
        self.setContentsMargins(0, self._header() if expanded else 0, 0, 0)
        self.setMaximumHeight(16777215 if expanded else self._header())
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(expanded)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """Hides a child that arrives while collapsed."""
        child = event.child()
        if event.added() and isinstance(child, QtWidgets.QWidget) and self._collapsed():
            child.setVisible(False)
        super().childEvent(event)

    def _header(self) -> int:
        return self.fontMetrics().height() + 10

    def sizeHint(self) -> QtCore.QSize:
        """The header's size, and the contents' below it when expanded."""
        size = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 32, self._header())
        layout = self.layout()
        return layout.sizeHint().expandedTo(size) if layout is not None and self.isChecked() else size

    def minimumSizeHint(self) -> QtCore.QSize:
        """As `sizeHint`, with the contents' minimum."""
        layout = self.layout()
        if layout is not None and self.isChecked():
            return layout.minimumSize()
        return QtCore.QSize(60, self._header())

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """True on the header only."""
        return position.y() < self._header()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draws the header: an arrow and the text."""
        painter = QtWidgets.QStylePainter(self)
        header = QtCore.QRect(0, 0, self.width(), self._header())
        panel = QtWidgets.QStyleOptionButton()
        panel.initFrom(self)
        panel.rect = header
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, panel)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, (header.height() - 10) // 2, 10, 10)
        style = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(style.PE_IndicatorArrowDown if self.isChecked() else style.PE_IndicatorArrowRight, arrow)
        role = QtGui.QPalette.ColorRole.ButtonText
        align = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
        painter.drawItemText(header.adjusted(26, 0, -4, 0), align, self.palette(), self.isEnabled(), self.text(), role)


class ctkMessageBox(dialogs.QMessageBox):
    """CTK's message box; its "don't show again" box is not imitated."""


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line with a path and a browse button."""

    currentPathChanged = QtCore.Signal(str)  # noqa: N815

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit = QtWidgets.QComboBox(self)
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        browse = QtWidgets.QToolButton(self)
        browse.setText("…")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(browse)
        self._edit.currentTextChanged.connect(self.currentPathChanged)

    def _path(self) -> str:
        return self._edit.currentText()

    def _set_path(self, path: str) -> None:
        self._edit.setCurrentText(path)

    currentPath = QtCore.Property(str, _path, _set_path, notify=currentPathChanged)  # noqa: N815

"""Stand-ins for the CTK widgets that the module uses, with CTK's properties, signals and behaviour."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A button whose children are shown below it unless it is collapsed."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *args: Any) -> None:
        text = args[0] if args and isinstance(args[0], str) else ""
        parent = next((a for a in args if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._hidden_here: set[QtWidgets.QWidget] = set()
        self._forcing = False
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
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly):
            self._show_or_hide(child)

    def _show_or_hide(self, child: QtWidgets.QWidget) -> None:
        """Hides a child while collapsed; shows it again only if it was not hidden from outside."""
        self._forcing = True
        if self._collapsed() and not _hidden_from_outside(child):
            self._hidden_here.add(child)
            child.setVisible(False)
        elif not self._collapsed() and child in self._hidden_here:
            self._hidden_here.discard(child)
            child.setVisible(True)
        self._forcing = False

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """Watches a child that arrives.

        It is looked at when it is polished: when it is added, it is still being made, and PySide6 would take it for a
        bare QWidget ever after.
        """
        child = event.child() if event.polished() else None
        if isinstance(child, QtWidgets.QWidget):
            child.installEventFilter(self)
            self._show_or_hide(child)
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Keeps a child hidden that is shown from outside while collapsed."""
        shown = event.type() == QtCore.QEvent.Type.ShowToParent
        if shown and self._collapsed() and not self._forcing and isinstance(child, QtWidgets.QWidget):
            self._show_or_hide(child)
        return super().eventFilter(child, event)

    def _header(self) -> int:
        return self.fontMetrics().height() + 10

    def _contents(self) -> QtWidgets.QLayout | None:
        return self.layout() if self.isChecked() else None

    def sizeHint(self) -> QtCore.QSize:
        """The header's size, and the contents' below it when expanded."""
        header = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 32, self._header())
        contents = self._contents()
        return contents.totalSizeHint().expandedTo(header) if contents else header

    def minimumSizeHint(self) -> QtCore.QSize:
        """As `sizeHint`, with the contents' minimum."""
        contents = self._contents()
        return contents.totalMinimumSize() if contents else QtCore.QSize(60, self._header())

    def hasHeightForWidth(self) -> bool:
        """True when the contents' height depends on the width."""
        contents = self._contents()
        return contents is not None and contents.hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        """The height at a width."""
        contents = self._contents()
        return contents.totalHeightForWidth(width) if contents else self._header()

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


def _hidden_from_outside(child: QtWidgets.QWidget) -> bool:
    explicit = QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide
    return child.isHidden() and child.testAttribute(explicit)


class ctkMessageBox(dialogs.QMessageBox):
    """CTK's message box; its "don't show again" box is not imitated."""


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line with a path and a browse button."""

    currentPathChanged = QtCore.Signal(str)

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

    currentPath = QtCore.Property(str, _path, _set_path, notify=currentPathChanged)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider beside a spin box, both with the same value."""

    valueChanged = QtCore.Signal(float)
    STEPS = 1000

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._box.setRange(0.0, 99.0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, self.STEPS)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._follow)
        self._slider.sliderMoved.connect(self._moved)

    def _follow(self, value: float) -> None:
        self._slider.setValue(round(self.STEPS * (value - self._box.minimum()) / self._span()))
        self.valueChanged.emit(value)

    def _moved(self, place: int) -> None:
        self._box.setValue(self._box.minimum() + self._span() * place / self.STEPS)

    def _span(self) -> float:
        return max(self._box.maximum() - self._box.minimum(), 1e-9)

    def _get(name: str) -> Any:  # type: ignore[misc]
        return lambda self: getattr(self._box, name)()

    def _set(name: str) -> Any:  # type: ignore[misc]
        return lambda self, value: getattr(self._box, f"set{name[0].upper()}{name[1:]}")(value)

    value = QtCore.Property(float, _get("value"), _set("value"), notify=valueChanged)
    minimum = QtCore.Property(float, _get("minimum"), _set("minimum"))
    maximum = QtCore.Property(float, _get("maximum"), _set("maximum"))
    singleStep = QtCore.Property(float, _get("singleStep"), _set("singleStep"))
    decimals = QtCore.Property(int, _get("decimals"), _set("decimals"))

"""Makes the pictures of the documentation and the module's icon: ``python -m tests.host.pictures --help``."""

from __future__ import annotations

import math
import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

ICON = Path(__file__).resolve().parents[2] / "MedGANSlicerExtension" / "MedGAN" / "Resources" / "Icons" / "MedGAN.png"


def make_icon(path: Path, size: int = 128) -> None:
    """Draws the icon: a head in profile made of a net, one half grey (acquired), one half coloured (generated)."""
    image = QtGui.QImage(size * 4, size * 4, QtGui.QImage.Format.Format_ARGB32)
    image.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.scale(size * 4 / 128, size * 4 / 128)
    _tile(painter)
    _brain(painter)
    _loop(painter)
    painter.end()
    smooth = QtCore.Qt.TransformationMode.SmoothTransformation
    image.scaled(size, size, QtCore.Qt.AspectRatioMode.KeepAspectRatio, smooth).save(str(path))


def _tile(painter: QtGui.QPainter) -> None:
    shade = QtGui.QLinearGradient(0, 0, 128, 128)
    shade.setColorAt(0, QtGui.QColor("#17324d"))
    shade.setColorAt(1, QtGui.QColor("#0c1b2b"))
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(shade)
    painter.drawRoundedRect(QtCore.QRectF(2, 2, 124, 124), 26, 26)


def _brain(painter: QtGui.QPainter) -> None:
    outline = QtGui.QPainterPath()
    for step in range(361):
        angle = math.radians(step)
        radius = 36 + 2.6 * math.sin(9 * angle)
        point = QtCore.QPointF(64 + radius * 0.86 * math.cos(angle), 64 + radius * math.sin(angle))
        outline.lineTo(point) if step else outline.moveTo(point)
    for left, color in ((True, "#c7d3dd"), (False, "#3fb6a8")):
        painter.save()
        painter.setClipRect(QtCore.QRectF(0 if left else 65.5, 0, 62.5, 128))
        painter.fillPath(outline, QtGui.QColor(color))
        _folds(painter, -1 if left else 1, "#6d8396" if left else "#14665e")
        painter.restore()


def _folds(painter: QtGui.QPainter, side: int, color: str) -> None:
    pen = QtGui.QPen(QtGui.QColor(color), 3.0)
    pen.setCapStyle(QtCore.Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
    for y, bend in ((44, 8), (58, 12), (72, 10), (86, 6)):
        fold = QtGui.QPainterPath(QtCore.QPointF(64 + side * 7, y))
        fold.cubicTo(64 + side * 14, y - bend, 64 + side * 17, y + bend, 64 + side * 25, y - 2)
        painter.drawPath(fold)


def _loop(painter: QtGui.QPainter) -> None:
    pen = QtGui.QPen(QtGui.QColor("#f2a33a"), 5.0)
    pen.setCapStyle(QtCore.Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    ring = QtCore.QRectF(15, 15, 98, 98)
    for start in (20, 200):
        painter.drawArc(ring, start * 16, 140 * 16)
        angle = math.radians(start)
        tip = QtCore.QPointF(64 + 49 * math.cos(angle), 64 - 49 * math.sin(angle))
        _arrow_head(painter, tip, angle)


def _arrow_head(painter: QtGui.QPainter, tip: QtCore.QPointF, angle: float) -> None:
    painter.save()
    painter.translate(tip)
    painter.rotate(90 - math.degrees(angle) + 90)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor("#f2a33a"))
    painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(-9, -4), QtCore.QPointF(9, -4), QtCore.QPointF(0, 9)]))
    painter.restore()


if __name__ == "__main__":
    app = QtWidgets.QApplication(["icon"])
    make_icon(ICON)

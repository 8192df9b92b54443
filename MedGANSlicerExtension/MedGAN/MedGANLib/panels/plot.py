"""The curves of a training run, painted with Qt alone: Slicer has no matplotlib of its own."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import qt

from ..records import TrainingStatus
from .look import metric_name

Curve = Sequence[Tuple[int, float]]
HEIGHT = 128
GAP = 12
SHARPNESS = 2
"""Pixels for each pixel of an ordinary screen, so that the curves are sharp on a fine one too."""
LOSS_COLOR = (214, 106, 38)
METRIC_COLOR = (38, 128, 184)


class TrainingPlot:
    """Two small charts side by side, loss and metric, in a label; redrawn when the run or the width changes."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self._drawn: Tuple[Any, ...] = ()
        label.scaledContents = True
        label.setFixedHeight(HEIGHT)
        label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # a wide picture must not keep the panel wide
        label.setVisible(False)

    def draw(self, status: TrainingStatus) -> None:
        """Draws the curves; hides the label while there are none."""
        self._label.setVisible(bool(status.loss or status.metric))
        width = max(200, self._label.parent().width - 24)
        drawn = (status.loss, status.metric, status.epochs, width)
        if drawn != self._drawn and (status.loss or status.metric):
            self._drawn = drawn
            self._label.setPixmap(self._paint(status, width))

    def _paint(self, status: TrainingStatus, width: int) -> Any:
        pixmap = qt.QPixmap(width * SHARPNESS, HEIGHT * SHARPNESS)
        pixmap.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter(pixmap)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        painter.scale(SHARPNESS, SHARPNESS)
        ink = self._label.palette.color(qt.QPalette.WindowText)
        half = (width - GAP) // 2
        Chart(painter, 0, half, ink).draw("Loss", status.loss, status.epochs, LOSS_COLOR)
        name = metric_name(status.metric_name) if status.metric_name else "Metric"
        Chart(painter, half + GAP, half, ink).draw(name, status.metric, status.epochs, METRIC_COLOR, mark_first=True)
        painter.end()
        return pixmap


class Chart:
    """One chart: a title with the last value, two grid lines with their values, the curve, the epochs below."""

    def __init__(self, painter: Any, left: int, width: int, ink: Any) -> None:
        self._painter = painter
        self._ink = ink
        self._title = qt.QRectF(left, 0, width, 18)
        self._area = qt.QRectF(left + 36, 24, width - 44, HEIGHT - 46)
        self._foot = qt.QRectF(left + 36, HEIGHT - 18, width - 44, 16)

    def draw(
        self, title: str, curve: Curve, epochs: int, color: Tuple[int, int, int], mark_first: bool = False
    ) -> None:
        """Draws the chart.

        Args:
            title: What is shown.
            curve: (epoch, value) pairs.
            epochs: Length of the epoch axis.
            color: RGB of the curve, 0…255.
            mark_first: Whether a dashed line goes through the first value (the version that served before).
        """
        last = f"  {curve[-1][1]:.3f}" if curve else ""
        self._text(self._title, qt.Qt.AlignLeft, title + last)
        low, high = value_range([v for _, v in curve])
        self._grid(low, high)
        self._text(self._foot, qt.Qt.AlignLeft, "0")
        self._text(self._foot, qt.Qt.AlignRight, f"epoch {max(epochs, 1)}")
        points = [self._place(e, v, max(epochs, 1), low, high) for e, v in curve]
        if mark_first and points:
            self._line(
                qt.QPointF(self._area.left(), points[0].y()),
                qt.QPointF(self._area.right(), points[0].y()),
                color,
                1.0,
                dashed=True,
            )
        self._curve(points, color)

    def _grid(self, low: float, high: float) -> None:
        for value, y in ((high, self._area.top()), (low, self._area.bottom())):
            faint = (self._ink.red(), self._ink.green(), self._ink.blue(), 60)
            self._line(qt.QPointF(self._area.left(), y), qt.QPointF(self._area.right(), y), faint, 1.0)
            box = qt.QRectF(self._area.left() - 40, y - 8, 36, 16)
            self._text(box, qt.Qt.AlignRight | qt.Qt.AlignVCenter, f"{value:.2f}")

    def _place(self, epoch: int, value: float, epochs: int, low: float, high: float) -> Any:
        x = self._area.left() + self._area.width() * min(1.0, epoch / epochs)
        y = self._area.bottom() - self._area.height() * (value - low) / (high - low)
        return qt.QPointF(x, y)

    def _curve(self, points: List[Any], color: Tuple[int, ...]) -> None:
        for index in range(1, len(points)):
            self._line(points[index - 1], points[index], color, 2.0)
        self._painter.setPen(qt.QPen(qt.QColor(*color)))
        self._painter.setBrush(qt.QBrush(qt.QColor(*color)))
        for point in points[-1:]:
            self._painter.drawEllipse(point, 3.0, 3.0)

    def _line(self, start: Any, end: Any, color: Tuple[int, ...], width: float, dashed: bool = False) -> None:
        pen = qt.QPen(qt.QColor(*color))
        pen.setWidthF(width)
        if dashed:
            pen.setStyle(qt.Qt.DashLine)
        self._painter.setPen(pen)
        self._painter.drawLine(start, end)

    def _text(self, box: Any, flags: Any, text: str) -> None:
        self._painter.setPen(qt.QPen(self._ink))
        self._painter.drawText(box, int(flags), text)


def value_range(values: Sequence[float]) -> Tuple[float, float]:
    """Returns a range that holds all finite values, with a margin, and that is never empty."""
    finite = [v for v in values if abs(v) < 1e30]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    margin = 0.08 * (high - low) or max(0.05, 0.05 * abs(high))
    return low - margin, high + margin

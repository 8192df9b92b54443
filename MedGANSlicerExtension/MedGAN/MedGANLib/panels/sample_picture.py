"""The picture of a sample in the panel: its middle slices with the label's outline, and the word SYNTHETIC."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

import qt

from ..errors import MedGANError
from ..gallery import Sample
from ..previews import Slice, middle_slices, paint, png
from ..records import Color
from ..segments import LabelTable
from ..volumes import affine, dimensions, read_node, read_on_grid, voxels

HEIGHT, FLAT_HEIGHT = 150, 230
"""The most pixels that slices of a volume, and a 2D picture, may be high."""
GAP = 4
MARGINS = 20
"""Pixels left and right of the picture in its section."""
SHARPNESS = 2
"""Pixels for each pixel of an ordinary screen, so that the picture is sharp on a fine one too."""


class SamplePicture:
    """A picture in a label; painted anew when the sample or the label's width changes."""

    def __init__(self, label: Any, room: Any, folder: Path) -> None:
        """Draw into `label`, as wide as the inside of the section `room`; `folder` takes a file in passing."""
        self._label = label
        self._room = room
        self._folder = folder
        self._sample: Optional[Sample] = None
        self._slices: List[Slice] = []
        self._problem = ""
        self._drawn: Tuple[Any, ...] = ()
        label.scaledContents = True
        label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # a wide picture must not keep the panel wide

    def draw(self, sample: Optional[Sample]) -> str:
        """Draws a sample; returns why it cannot be drawn, or nothing."""
        if sample != self._sample:
            self._read(sample)
        self._label.setVisible(bool(self._slices))
        width = max(200, self._room.width - MARGINS)
        if self._slices and sample and self._drawn != (sample, width):
            self._drawn = (sample, width)
            self._paint(sample, width)
        return self._problem

    def _read(self, sample: Optional[Sample]) -> None:
        self._sample, self._slices, self._problem, self._drawn = sample, [], "", ()
        if sample is None:
            return
        try:
            self._slices, self._problem = read_slices(sample)
        except MedGANError as error:
            self._problem = error.text()

    def _paint(self, sample: Sample, width: int) -> None:
        height = FLAT_HEIGHT if len(self._slices) == 1 else HEIGHT
        sharp = (width * SHARPNESS, height * SHARPNESS, GAP * SHARPNESS)
        rgb = paint(self._slices, outline_colors(sample), *sharp)
        pixmap = self._load(png(rgb))
        painter = qt.QPainter(pixmap)
        painter.scale(SHARPNESS, SHARPNESS)
        _stamp(painter)
        painter.end()
        self._label.setFixedHeight(max(1, rgb.shape[0] // SHARPNESS))
        self._label.setPixmap(pixmap)

    def _load(self, content: bytes) -> Any:
        """Return a picture by way of a file, since PythonQt cannot make one of an array; each has its own name because
        Qt remembers pictures by name.
        """
        path = self._folder / f"preview-{secrets.token_hex(8)}.png"
        path.write_bytes(content)
        try:
            return qt.QPixmap(str(path))
        finally:
            path.unlink()


def read_slices(sample: Sample) -> Tuple[List[Slice], str]:
    """Returns the middle slices of a sample, and what is wrong with its label.

    Raises:
        NotAnImage: The image cannot be read.
    """
    node = read_node(sample.image, "vtkMRMLScalarVolumeNode")
    grid = affine(node)
    labels = read_on_grid(sample.label, dimensions(node), grid) if sample.label else None
    problem = "Its label does not lie on the image and is not shown." if sample.label and labels is None else ""
    return middle_slices(voxels(node), grid, labels), problem


def outline_colors(sample: Sample) -> Mapping[int, Color]:
    """Returns label value -> colour, the same as the segments in the scene have."""
    table = LabelTable(sample.labels, sample.colors)
    return {value: table.color_of(value) for value in sample.labels.values()}


def _stamp(painter: Any) -> None:
    font = qt.QFont(painter.font())
    font.setPixelSize(10)
    font.setBold(True)
    painter.setFont(font)
    box = qt.QRectF(4, 4, 74, 15)
    painter.fillRect(box, qt.QBrush(qt.QColor(0, 0, 0, 150)))
    painter.setPen(qt.QPen(qt.QColor(255, 196, 0)))
    painter.drawText(box, int(qt.Qt.AlignCenter), "SYNTHETIC")

"""Makes the pictures of the documentation and the module's icon: ``python -m tests.host.pictures --help``."""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from PySide6 import QtCore, QtGui

from . import MODULE_FOLDER, install, views
from .user import User

ROOT = Path(__file__).resolve().parents[2]
ICON = MODULE_FOLDER / "Resources" / "Icons" / "MedGAN.png"


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


def take_pictures(folder: Path, address: str = "") -> None:
    """Drives the module through its states and draws each into `folder`.

    Args:
        folder: Where `slicer-*.png` go.
        address: A running MedGAN server with studies to label; by default a small test server with synthetic studies.
    """
    with tempfile.TemporaryDirectory() as temporary:
        host = install(Path(temporary))
        module = host.load_module()
        module.widget.enter()
        try:
            _tour(User(host, module, folder), address)
        finally:
            module.unload()
            host.close()


def _tour(user: User, address: str) -> None:
    from MedGANLib.testing.server import TestServer

    with TestServer() as server:
        server.world.add_phantoms(3)
        user.picture("start")
        user.connect(address or server.url)
        user.open_only("serverSection", "studySection", "runSection")
        user.picture("connected")
        _label(user)
        user.open_only("runSection", "correctSection")
        user.picture("result")
        draw_desk(user, user.picture("result"))
        if not address:
            _train(user)


def _label(user: User) -> None:
    user.take_next()
    user.run()


def _train(user: User) -> None:
    user.submit()
    _label(user)
    user.submit()
    user.open_only("trainSection")
    user.ui.epochsSpin.value = 8
    user.press("startButton")
    user.until(lambda: user.state.training.epoch >= 6, "the training", 60)
    user.picture("training")
    user.until(lambda: user.state.training.verdict is not None, "the verdict", 60)
    user.idle()
    user.picture("verdict")
    user.open_only("versionsSection")
    user.until(lambda: user.ui.versionsTable.rowCount == 2, "the versions")
    user.ui.versionsTable.selectRow(1)
    user.picture("versions")


def draw_desk(user: User, panel: Path, size: int = 380) -> None:
    """Draws the panel beside three slice views and the 3D view, over the file `panel`."""
    left = QtGui.QImage(str(panel))
    with tempfile.TemporaryDirectory() as temporary:
        views_of_result = [QtGui.QImage(str(p)) for p in _draw_views(user, Path(temporary), size)]
    height = max(left.height(), 2 * size + 6)
    image = QtGui.QImage(left.width() + 2 * size + 12, height, QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor("#efefef"))
    painter = QtGui.QPainter(image)
    painter.drawImage(0, 0, left)
    for index, view in enumerate(views_of_result):
        painter.drawImage(left.width() + 6 + index % 2 * (size + 6), index // 2 * (size + 6), view)
    painter.end()
    image.save(str(panel))


def _draw_views(user: User, folder: Path, size: int) -> list[Path]:
    import slicer

    segmentation, volume = user.module.widget.shared.segmentation, user.module.widget.shared.volume
    segmentation.CreateClosedSurfaceRepresentation()
    bounds, extent = [0.0] * 6, [0.0] * 6
    segmentation.GetRASBounds(bounds)
    volume.GetRASBounds(extent)
    middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    field = max(extent[2 * axis + 1] - extent[2 * axis] for axis in range(3))
    pictures = []
    for name, axis in (("Red", 2), ("Yellow", 0), ("Green", 1)):
        logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
        pictures.append(views.draw_slice(logic, folder / f"{name}.png", middle, middle[axis], field, size))
    return [pictures[0], views.draw_view(user.host.scene, folder / "3d.png", size=size), *pictures[1:]]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder for the pictures")
    parser.add_argument("--server", default="", help="address of a running MedGAN server; default: a small test server")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    take_pictures(arguments.out, arguments.server)
    make_icon(ICON)


if __name__ == "__main__":
    main()

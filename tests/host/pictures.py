"""Makes the pictures of the documentation and the module's icon.

``python -m tests.host.pictures`` draws every state of the module, with a small test server and synthetic studies; the
panel *Synthesise* is drawn by ``python docs/pictures.py``, with the shipped model, and *Reconstruct* and *Detect* by
``python -m tests.host.pictures --reconstruct`` and ``--detect``, with the test server or one that is named. The result
on a real head (docs/images/slicer-result.png) needs a real server whose one study is the MNI152 template::

    python -m monailabel_app serve --studies FOLDER --port 8917
    python -m tests.host.pictures --server http://127.0.0.1:8917 --point -26 -22 -14 --point 26 -22 -14

Everything in the panel is the module's own, except Segment Editor, which is a stand-in here.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PySide6 import QtCore, QtGui

from . import MODULE_FOLDER, install, views
from .user import User

ROOT = Path(__file__).resolve().parents[2]
Point = tuple[float, ...]
VIEW_COLORS = ("#f34a33", "#9a9ad0", "#6eb04b", "#edd54c")
"""Slicer's colours of the red, 3D, green and yellow view."""
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


def take_pictures(folder: Path, address: str = "", points: tuple[Point, ...] = ()) -> None:
    """Drives the module through its states and draws each into `folder`.

    Args:
        folder: Where `slicer-*.png` go.
        address: A running MedGAN server with a study to label; only the result is drawn then. By default all states are
            drawn, with a small test server and synthetic studies.
        points: Points to place in the study before the model runs, in RAS millimetres.
    """
    with opened(folder) as user:
        _draw_result(user, address, points) if address else _tour(user)


@contextmanager
def opened(folder: Path) -> Iterator[User]:
    """A user at the module in a host of its own; pictures go into `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        host = install(Path(temporary))
        module = host.load_module()
        module.enter()
        try:
            yield User(host, module, folder)
        finally:
            module.unload()
            host.close()


def _tour(user: User) -> None:
    from MedGANLib.testing.server import TestServer

    with TestServer() as server:
        server.world.add_phantoms(3)
        user.picture("start")
        user.connect(server.url)
        user.open_only("serverSection", "studySection", "runSection")
        user.picture("connected")
        _draw_result(user, server.url, ())
        _train(user)
        _ask_consent(user)


def _draw_result(user: User, address: str, points: tuple[Point, ...]) -> None:
    user.connect(address)
    user.take_next()
    for point in points:
        field = user.panel("RunPanel").form.field("points")
        node = field.value() or field.selector.addNode()
        node.AddControlPoint(list(point))
    user.press("runButton")
    user.idle(120)
    user.open_only("runSection", "correctSection")
    draw_desk(user, user.picture("result"), list(points[0]) if points else None)


def draw_synthesis(folder: Path) -> None:
    """Draws the panel *Synthesise* into `slicer-synthesise.png`, with the shipped model on a real server."""
    from demo.server import running_server

    with opened(folder) as user, tempfile.TemporaryDirectory() as temporary:
        studies = Path(temporary) / "studies"
        studies.mkdir()
        with running_server(studies, Path(temporary) / "server.log", "--data", str(Path(temporary) / "data")) as url:
            user.connect(url)
            _synthesise(user)


def _synthesise(user: User) -> None:
    user.open_only("synthesiseSection")
    box = user.ui.synthesisModelBox
    box.currentIndex = box.findData("hippocampus_synthesis")
    user.panel("SynthesisePanel").form.field("number").widget.value = 8
    user.press("generateButton")
    user.idle(120)
    for step in range(3):
        if step != 1:
            user.ui.acceptBox.click()
        if step < 2:
            user.press("nextSampleButton")
    user.picture("synthesise")


def draw_reconstruction(folder: Path, address: str = "") -> None:
    """Draws the panel *Reconstruct* beside both slice views of *Before | after* into `slicer_reconstruct.png`.

    Args:
        folder: Where it goes.
        address: A running MedGAN server with a study and reconstruction models, of which that of super-resolution is
            run; by default a small test server with half of the MNI152 template's voxels, whose "network" only
            interpolates.
    """
    with opened(folder) as user:
        from MedGANLib.testing.server import TestServer

        with contextlib.nullcontext() if address else TestServer() as server:
            if server:
                server.world.studies["head"] = _coarse_head()
            user.connect(address or server.url)
            _reconstruct(user)
        panel = user.picture("reconstruct").replace(folder / "slicer_reconstruct.png")
        beside(panel, _draw_two_views(folder, QtGui.QImage(str(panel)).height()))


def _coarse_head() -> bytes:
    """The middle of the MNI152 template on voxels of 2 mm, as a file."""
    import numpy as np
    from MedGANLib.testing.images import write_nrrd

    from demo import mni

    head = mni.head()
    size = [n // 2 for n in head.shape]
    array = head.array[: 2 * size[0], : 2 * size[1], : 2 * size[2]].astype(float)
    blocks = array.reshape(size[0], 2, size[1], 2, size[2], 2).mean((1, 3, 5))
    step = np.diag([2.0, 2.0, 2.0, 1.0])
    step[:3, 3] = 0.5
    return write_nrrd((1000 * blocks / blocks.max()).astype(np.int16).T, head.affine @ step)


def _reconstruct(user: User) -> None:
    user.take_next()
    user.open_only("reconstructSection")
    place = user.ui.reconstructionModelBox.findData("mr_super_resolution")
    if place >= 0:
        user.ui.reconstructionModelBox.currentIndex = place
    user.press("reconstructButton")
    user.idle(600)
    user.ui.viewBox.currentIndex = 1
    user.ui.uncertaintyBox.checked = True
    user.ui.thresholdSlider.value = 0.4 * user.state.reconstruction.usual


def _draw_two_views(folder: Path, size: int) -> list[QtGui.QImage]:
    """Both views of *Before | after* at the middle of the study."""
    import slicer

    found = []
    for name in ("Red", "Yellow"):
        widget = slicer.app.layoutManager().sliceWidget(name)
        logic = widget.sliceLogic()
        below = slicer.mrmlScene.GetNodeByID(logic.GetSliceCompositeNode().GetBackgroundVolumeID())
        bounds = [0.0] * 6
        below.GetRASBounds(bounds)
        middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
        field = 0.92 * max(bounds[2 * axis + 1] - bounds[2 * axis] for axis in range(2))
        path = views.draw_slice(logic, folder / f"{name}.png", middle, field, size)
        found.append(with_mark(QtGui.QImage(str(path)), widget.sliceView().cornerAnnotation().GetText(7) or ""))
        path.unlink()
    return found


def with_mark(image: QtGui.QImage, text: str) -> QtGui.QImage:
    """Writes what the module writes at the upper edge of a view, which is not drawn without a window."""
    painter = QtGui.QPainter(image)
    font = painter.font()
    font.setPixelSize(15)
    painter.setFont(font)
    painter.setPen(QtGui.QColor(255, 196, 0))
    painter.drawText(QtCore.QRect(0, 12, image.width(), 24), QtCore.Qt.AlignmentFlag.AlignCenter, text)
    painter.end()
    return image


def beside(panel: Path, pictures: list[QtGui.QImage], colors: Sequence[str] = VIEW_COLORS[::3]) -> None:
    """Puts slice views right of the panel's picture, which is replaced."""
    left, size = QtGui.QImage(str(panel)), pictures[0].width()
    whole = QtCore.QSize(left.width() + len(pictures) * (size + 6), max(left.height(), size))
    image = QtGui.QImage(whole, QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor("#efefef"))
    painter = QtGui.QPainter(image)
    painter.drawImage(0, 0, left)
    for place, view in enumerate(pictures):
        x = left.width() + 6 + place * (size + 6)
        painter.drawImage(x, 0, view)
        painter.fillRect(x, 0, size, 5, QtGui.QColor(colors[place]))
    painter.end()
    image.save(str(panel))


def _train(user: User) -> None:
    user.submit()
    user.take_next()
    user.run()
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


def _ask_consent(user: User) -> None:
    path = user.picture("consent")
    user.host.desk.answers = ["Do not send"]
    user.host.desk.on_show = lambda box: box.grab().save(str(path))
    user.choose(user.module.python.add_phantom("Head MR"))
    user.run()


def draw_desk(user: User, panel: Path, middle: list[float] | None) -> None:
    """Draws the panel beside three slice views and the 3D view, as Slicer's four-up layout shows them.

    Args:
        user: At the panel.
        panel: Picture of the panel; it is replaced.
        middle: What the slices show, closely, in RAS millimetres; None shows the whole volume about the result.
    """
    left = QtGui.QImage(str(panel))
    size = max(380, (left.height() - 6) // 2)
    with tempfile.TemporaryDirectory() as temporary:
        pictures = [QtGui.QImage(str(p)) for p in _draw_views(user, Path(temporary), size, middle)]
    image = QtGui.QImage(left.width() + 2 * size + 12, 2 * size + 6, QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor("#efefef"))
    painter = QtGui.QPainter(image)
    painter.drawImage(0, 0, left)
    for index, (view, color) in enumerate(zip(pictures, VIEW_COLORS, strict=True)):
        x, y = left.width() + 6 + index % 2 * (size + 6), index // 2 * (size + 6)
        painter.drawImage(x, y, view)
        painter.fillRect(x, y, size, 5, QtGui.QColor(color))
    painter.end()
    image.save(str(panel))


def _draw_views(user: User, folder: Path, size: int, closely: list[float] | None) -> list[Path]:
    import slicer

    segmentation, volume = user.module.widget.shared.segmentation, user.module.widget.shared.volume
    segmentation.CreateClosedSurfaceRepresentation()
    bounds, extent = [0.0] * 6, [0.0] * 6
    segmentation.GetRASBounds(bounds)
    volume.GetRASBounds(extent)
    middle = closely or [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    field = 150.0 if closely else max(extent[2 * axis + 1] - extent[2 * axis] for axis in range(3))
    pictures = []
    for name in ("Red", "Green", "Yellow"):
        logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
        pictures.append(views.draw_slice(logic, folder / f"{name}.png", middle, field, size))
    return [pictures[0], views.draw_view(user.host.scene, folder / "3d.png", size=size), *pictures[1:]]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder for the pictures")
    parser.add_argument("--server", default="", help="address of a running MedGAN server; default: a small test server")
    parser.add_argument("--reconstruct", action="store_true", help="draw the panel Reconstruct alone")
    parser.add_argument("--detect", action="store_true", help="draw the panel Detect alone")
    parser.add_argument("--point", type=float, nargs=3, action="append", default=[], help="point to place, in RAS mm")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.reconstruct:
        draw_reconstruction(arguments.out, arguments.server)
        return
    if arguments.detect:
        from .detect_picture import draw_detection

        draw_detection(arguments.out, arguments.server)
        return
    take_pictures(arguments.out, arguments.server, tuple(tuple(p) for p in arguments.point))
    make_icon(ICON)


if __name__ == "__main__":
    main()

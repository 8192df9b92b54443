"""Makes the picture of k-space in place of a volume, and of results as DICOM: `python docs/pictures.py kspace`.

The server is the small test server; its "k-space" is that of a slice of the MNI152 template.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PySide6 import QtCore, QtGui

from .pictures import opened
from .user import User

GAP = 8
NAME = "scan 0815.npy"


def draw_kspace(folder: Path) -> None:
    """Draws the question, the panel *Reconstruct* and the panel *Correct* side by side into `slicer_kspace.png`."""
    with opened(folder) as user, tempfile.TemporaryDirectory() as temporary:
        from MedGANLib.testing.reconstruction import MEASURED, measured_json
        from MedGANLib.testing.server import TestServer

        with TestServer() as server:
            server.world.add_phantoms(1)
            server.world.archive = True
            server.world.reconstructions = {MEASURED: measured_json()}
            user.connect(server.url)
            pictures = [_reconstruct(user, folder, _write_kspace(Path(temporary)))]
            pictures.append(_correct(user))
            question = folder / "question.png"
            _side_by_side([*pictures, question], folder / "slicer_kspace.png")
            for path in (*pictures, question):
                path.unlink()


def _write_kspace(folder: Path) -> Path:
    from demo import mni

    head = mni.head().array
    middle = head[:, :, head.shape[2] // 2]
    centred = np.fft.ifftshift(np.pad(middle, 8))
    np.save(folder / NAME, np.fft.fftshift(np.fft.fft2(centred, norm="ortho")).astype(np.complex64))
    return folder / NAME


def _reconstruct(user: User, folder: Path, file: Path) -> Path:
    user.open_only("reconstructSection")
    user.host.desk.paths = [str(file)]
    user.panel("ReconstructPanel").inputs._fields["image"].button.click()
    user.host.desk.answers = ["Send"]
    user.host.desk.on_show = lambda box: box.grab().save(str(folder / "question.png"))
    user.press("reconstructButton")
    user.idle()
    user.host.desk.on_show = None
    return user.picture("kspace_reconstruct")


def _correct(user: User) -> Path:
    user.module.widget.logic.workflow.author = "Dr A"
    user.take_next()
    user.run()
    user.submit()
    user.until(lambda: user.state.history is not None, "the history")
    user.open_only("correctSection")
    user.ui.historyButton.checked = True
    user.until(lambda: user.ui.historyTable.rowCount == 1, "the table")
    return user.picture("kspace_correct")


def _side_by_side(paths: list[Path], target: Path) -> None:
    images = [QtGui.QImage(str(path)) for path in paths]
    width = sum(image.width() + GAP for image in images) - GAP
    whole = QtGui.QImage(width, max(image.height() for image in images), QtGui.QImage.Format.Format_RGB32)
    whole.fill(QtGui.QColor("#efefef"))
    painter, left = QtGui.QPainter(whole), 0
    for image in images:
        painter.drawImage(QtCore.QPoint(left, 0), image)
        left += image.width() + GAP
    painter.end()
    whole.save(str(target))

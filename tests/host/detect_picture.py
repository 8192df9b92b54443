"""Makes the picture of the panel *Detect*: `python -m tests.host.pictures --detect`.

The head is the MNI152 template with a lesion painted into it, and the heat is computed from the difference; no network
has looked at it, unless a server is named.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import slicer
from PySide6 import QtGui

from . import views
from .pictures import VIEW_COLORS, beside, opened, with_mark
from .user import User

SPACING = 2.0
LESIONS = ((26.0, 14.0, 24.0, 8.0, 0.45), (-28.0, -34.0, 24.0, 4.5, 0.40))
"""Place of each lesion (RAS mm), its radius (mm), and the share of its brightness that is lost, as in T1."""


def draw_detection(folder: Path, address: str = "") -> None:
    """Draws the panel *Detect* beside two slices through the hottest finding into `slicer_detect.png`.

    Args:
        folder: Where it goes.
        address: A running MedGAN server with a study and an anomaly model; by default a small test server.
    """
    with opened(folder) as user:
        from MedGANLib.testing.server import TestServer

        with contextlib.nullcontext() if address else TestServer() as server:
            if server:
                _furnish(server)
            user.connect(address or server.url)
            _detect(user)
        panel = user.picture("detect").replace(folder / "slicer_detect.png")
        beside(panel, _draw_slices(user, folder, QtGui.QImage(str(panel)).height()), VIEW_COLORS[::2])


def _furnish(server: object) -> None:
    """Gives the test server a head with lesions, and verdicts of colleagues."""
    from MedGANLib.testing.images import write_nrrd

    image, lesions, affine = head()
    world = server.world
    world.studies["head"] = write_nrrd(image, affine)
    world.heat = lambda voxels: heat_of(voxels, lesions)
    world.verdicts.update({f"study {n}": "normal" if n < 12 else "abnormal" for n in range(15)})


def head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The MNI152 template on voxels of 2 mm with lesions: image, lesions (both k, j, i) and matrix to RAS mm."""
    from demo import mni

    template = mni.head()
    size = [n // 2 for n in template.shape]
    array = template.array[: 2 * size[0], : 2 * size[1], : 2 * size[2]].astype(float)
    brain = array.reshape(size[0], 2, size[1], 2, size[2], 2).mean((1, 3, 5)).T
    step = np.diag([SPACING, SPACING, SPACING, 1.0])
    step[:3, 3] = 0.5
    affine = template.affine @ step
    index = np.stack(np.meshgrid(*[np.arange(n) for n in brain.shape], indexing="ij"))[::-1].reshape(3, -1)
    places = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *brain.shape)
    lesions = np.zeros(brain.shape)
    for *middle, radius, contrast in LESIONS:
        distance = np.sqrt(sum((places[axis] - middle[axis]) ** 2 for axis in range(3)))
        wavy = radius * (1 + 0.18 * np.sin(places[0] / 3) * np.cos(places[1] / 2.5))
        lesions += contrast / (1 + np.exp((distance - wavy) / 1.2))
    brain = brain / brain.max()
    lesions *= brain > 0.2
    return (1000 * brain * (1 - lesions)).astype(np.int16), lesions, affine


def heat_of(voxels: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    """A heat map as a network gives it: the lesions, blurred, over a restless ground within the head."""
    ground = np.random.default_rng(4).normal(size=voxels.shape)
    ground = _smooth(ground, 4)
    ground = np.abs(ground / ground.std()) * _smooth((voxels > 100).astype(float), 3)
    return (0.9 * ground + 22 * _smooth(lesions, 1)).astype(np.float32)


def _smooth(array: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        for axis in range(3):
            array = (np.roll(array, 1, axis) + 2 * array + np.roll(array, -1, axis)) / 4
    return array


def _detect(user: User) -> None:
    user.take_next()
    user.open_only("detectSection")
    user.press("detectButton")
    user.idle(600)
    user.ui.heatThresholdSlider.value = 0.8 * user.state.detection.threshold
    user.until(lambda: user.state.detection.findings.threshold == user.state.detection.threshold, "the findings")
    user.press("markAbnormalButton")
    user.idle()
    user.until(lambda: user.state.marked, "the marks")
    user.panel("FindingsPanel")._point(0, 0)
    user.ui.findingsTable.selectRow(0)


def _draw_slices(user: User, folder: Path, size: int) -> list[QtGui.QImage]:
    """The axial and the coronal slice through the hottest finding."""
    place = user.state.detection.findings.hottest[0].place
    bounds = [0.0] * 6
    slicer.mrmlScene.GetNodeByID(user.state.detection.volume).GetRASBounds(bounds)
    middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    field = 0.92 * max(bounds[2 * axis + 1] - bounds[2 * axis] for axis in range(3))
    found = []
    for name, normal in (("Red", 2), ("Green", 1)):
        widget = slicer.app.layoutManager().sliceWidget(name)
        where = [place[axis] if axis == normal else middle[axis] for axis in range(3)]
        path = views.draw_slice(widget.sliceLogic(), folder / f"{name}.png", where, field, size)
        found.append(with_mark(QtGui.QImage(str(path)), widget.sliceView().cornerAnnotation().GetText(7) or ""))
        path.unlink()
    return found

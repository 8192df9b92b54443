"""Makes the pictures of correcting by clicks and of the review list: `python docs/pictures.py`.

The head is the MNI152 template. The hippocampi are painted, and the "model" makes two mistakes on purpose, which the
clicks mend; no network has looked at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PySide6 import QtGui

from . import views
from .pictures import VIEW_COLORS, beside, opened
from .user import User

MARKS = ("vtkMRMLMarkupsDisplayableManager",)
AXIS = ((-8.0, 24.0, -20.0), (-18.0, 26.5, -18.0), (-28.0, 29.0, -12.0), (-36.0, 28.0, -4.0), (-40.0, 25.0, 2.0))
"""The middle line of a hippocampus: R of the right side is the second number; RAS mm as (A, R, S)."""
RADII = (6.5, 5.5, 4.5, 4.0, 3.0)
MISSING, TOO_MUCH = (27.5, -37.0, -2.0), (-38.0, -20.0, -16.0)
"""What the "model" gets wrong: the tail on the right, a spot beside the left one."""
REACH = 15.0


class Hippocampi:
    """The painted truth on a grid, and a model that errs."""

    def __init__(self, shape: tuple[int, ...], affine: np.ndarray) -> None:
        index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))[::-1].reshape(3, -1)
        self._places = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)
        self.truth = np.zeros(shape, np.uint8)
        for side in (-1, 1):
            for part in np.linspace(0, len(AXIS) - 1, 60):
                a, r, s = (np.interp(part, range(len(AXIS)), [point[n] for point in AXIS]) for n in range(3))
                near = self._distance((side * r, a, s)) < np.interp(part, range(len(RADII)), RADII)
                self.truth[near] = 1 if a > -20 else 2

    def _distance(self, place: Sequence[float]) -> np.ndarray:
        return np.asarray(np.sqrt(sum((self._places[axis] - place[axis]) ** 2 for axis in range(3))))

    def err(self, voxels: np.ndarray) -> np.ndarray:
        """What the model gives without corrections."""
        labels = self.truth.copy()
        labels[self._distance(MISSING) < 9] = 0
        spot = self._distance(TOO_MUCH)
        labels[(spot < 7) & (self.truth == 0)] = 2
        return labels

    def mend(self, labels: np.ndarray, affine: np.ndarray, clicks: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """What the model gives with them: the truth, near the clicks."""
        for click in clicks:
            for place in click["points"]:
                near = self._distance(place) < REACH
                labels[near] = self.truth[near]
        return labels


def draw_corrections(folder: Path) -> None:
    """Draws the section *Correct and submit* and two slices, with clicks, into `slicer_correct.png`."""
    with opened(folder) as user:
        from MedGANLib.testing.server import TestServer

        with TestServer() as server:
            _furnish(server)
            user.connect(server.url)
            _correct(user, server)
            panel = user.picture("correct").replace(folder / "slicer_correct.png")
            beside(panel, _draw_slices(user, folder, QtGui.QImage(str(panel)).height()), VIEW_COLORS[::3])


def draw_review(folder: Path) -> None:
    """Draws the review list and the training, with its queue, into `slicer_review.png`."""
    with opened(folder) as user:
        from MedGANLib.testing.running import Run
        from MedGANLib.testing.server import TestServer

        with TestServer() as server:
            world = server.world
            world.add_phantoms(8)
            world.labels.update(case_7=b"", case_8=b"")
            world.expected = {"case_1": 0.86, "case_2": 0.58, "case_3": 0.79, "case_4": 0.83, "case_5": 0.66}
            world.auto_train = 5
            world._begin(Run("20261126-081500-a1b2", 0.87, epoch=4, author="Dr Lind", started=1795680900.0))
            world.queue.append(Run("20261126-083000-c3d4", 0.88, state="queued", reason="5 new labels"))
            user.connect(server.url)
            user.ui.reviewButton.checked = True
            user.until(lambda: user.ui.reviewTable.rowCount == 6, "the list")
            user.ui.reviewTable.selectRow(0)
            user.press("openReviewButton")
            user.idle()
            user.open_only("studySection", "trainSection")
            user.until(lambda: bool(user.state.runs), "the runs")
            user.picture("review").replace(folder / "slicer_review.png")


def _furnish(server: Any) -> None:
    """Gives the test server a head and a model for it."""
    from MedGANLib.testing.images import write_nrrd

    from demo import mni

    head = mni.head()
    voxels, affine = head.array.T, np.asarray(head.affine)
    painted = Hippocampi(voxels.shape, affine)
    server.world.studies["head_12"] = write_nrrd((1000 * voxels / voxels.max()).astype(np.int16), affine)
    server.world.segment, server.world.correct = painted.err, painted.mend
    server.world.expected["head_12"] = 0.78
    server.world.quality.update(
        expected_dice=0.78, low=0.70, high=0.84, light="amber", text="Not sure to be good: check the borders."
    )


def _correct(user: User, server: Any) -> None:
    user.take_next()
    user.run()
    user.open_only("correctSection")
    panel = user.panel("ClicksPanel")
    for count, (label, place) in enumerate((("posterior", MISSING), ("background", TOO_MUCH)), start=1):
        panel.buttons[label].click()
        panel.input.node.AddControlPoint(list(place))
        user.until(lambda count=count: len(user.state.corrections) == count, "the click")
        user.until(lambda: not user.module.widget.logic.workflow.corrections_wait and user.state.job is None, "it")


def _draw_slices(user: User, folder: Path, size: int) -> list[QtGui.QImage]:
    """The axial slice through the left mistake and the sagittal one through the right."""
    import slicer

    found = []
    for name, middle, field in (("Red", [0.0, -20.0, -16.0], 130.0), ("Yellow", [27.5, -25.0, -8.0], 100.0)):
        logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
        path = views.draw_slice(logic, folder / f"{name}.png", middle, field, size, MARKS)
        found.append(QtGui.QImage(str(path)))
        path.unlink()
    return found

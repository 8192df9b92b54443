"""A user at the section Detect, for its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from tests.host.user import User

ANOMALY, SEGMENTATION = "brain_anomaly", "hippocampus_segmentation"
VIEWS = ("Red", "Green", "Yellow")


def opened(user: User, server: Any) -> User:
    """Returns the user, connected, with a study and the section open."""
    user.connect(server.url)
    user.take_next()
    user.open_only("detectSection")
    return user


def detect(user: User) -> Any:
    user.press("detectButton")
    user.idle()
    return user.state.detection


def move(user: User, threshold: float) -> None:
    """Moves the threshold and lets it rest."""
    user.ui.heatThresholdSlider.value = threshold
    user.until(lambda: user.state.detection.findings.threshold == user.state.detection.threshold, "the findings")


def layers(view: str) -> tuple[str, str, float]:
    composite = slicer.app.layoutManager().sliceWidget(view).sliceLogic().GetSliceCompositeNode()
    over = composite.GetForegroundVolumeID() or ""
    return composite.GetBackgroundVolumeID() or "", over, composite.GetForegroundOpacity() if over else 0.0


def shows(user: User, name: str) -> bool:
    return getattr(user.ui, name).isVisibleTo(user.module.panel)


def rows(user: User) -> list[list[str]]:
    table = user.ui.findingsTable
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def segment_voxels(made: Any) -> int:
    node = slicer.mrmlScene.GetNodeByID(made.segmentation)
    (segment_id,) = [node.GetSegmentation().GetNthSegmentID(0)]
    volume = slicer.mrmlScene.GetNodeByID(made.volume)
    return int((slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume) > 0).sum())


def heat(made: Any) -> np.ndarray:
    return slicer.util.arrayFromVolume(slicer.mrmlScene.GetNodeByID(made.heat))

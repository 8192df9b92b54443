"""The panel Detect's result: the heat map over the image, its threshold, and the findings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from detecting import VIEWS, detect, heat, layers, move, opened, rows, segment_voxels, shows

from tests.host import Host
from tests.host.user import User


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user who is connected, has a study and has opened the section."""
    return opened(user, server)


# The heat map


def test_heat_lies_over_the_image_in_colour(ready: User) -> None:
    made = detect(ready)
    assert shows(ready, "detectionFrame")
    assert {layers(view) for view in VIEWS} == {(made.volume, made.heat, 0.7)}
    display = slicer.mrmlScene.GetNodeByID(made.heat).GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(made.threshold)
    assert display.GetUpperThreshold() >= made.largest, "the largest is never hidden"
    ready.ui.heatOpacitySlider.value = 0.3
    assert {layers(view)[2] for view in VIEWS} == {0.3}
    ready.ui.heatBox.checked = False
    assert {layers(view) for view in VIEWS} == {(made.volume, "", 0.0)} and not ready.ui.heatOpacitySlider.enabled
    ready.ui.heatBox.checked = True
    assert layers("Green") == (made.volume, made.heat, 0.3)


def test_views_say_that_it_is_a_heat_map(ready: User) -> None:
    def word() -> str:
        return slicer.app.layoutManager().sliceWidget("Red").sliceView().cornerAnnotation().GetText(7) or ""

    detect(ready)
    assert word() == "HEAT MAP"
    ready.ui.heatBox.checked = False
    assert word() == ""


def test_score_and_threshold_are_told_in_words(ready: User) -> None:
    made = detect(ready)
    assert ready.ui.scoreLabel.text == (
        "<b>Score 9 or higher: seen in fewer than 1 of 121 healthy patients (none of the 120 that were looked at).</b>"
    )
    assert ready.ui.heatThresholdLabel.text == "Heat 5.52 and above: 1 of 17 healthy patients has such a spot."
    assert ready.ui.heatThresholdSlider.value == pytest.approx(made.threshold, abs=0.05)
    assert (ready.ui.heatThresholdSlider.minimum, ready.ui.heatThresholdSlider.maximum) == (0.0, 9.0)
    ready.ui.heatThresholdSlider.value = 4.0
    assert ready.ui.heatThresholdLabel.text == "Heat 4 and above: 1 of 5 healthy patients has such a spot."
    ready.ui.heatThresholdSlider.value = 0.0
    assert ready.ui.heatThresholdLabel.text.endswith("every healthy patient has such a spot.")


def test_moving_the_threshold_moves_colours_and_segment_at_once(ready: User, server: Any) -> None:
    made = detect(ready)
    asked = len(server.world.requests)
    display = slicer.mrmlScene.GetNodeByID(made.heat).GetDisplayNode()
    for threshold in (3.0, 7.0, 1.5):
        ready.ui.heatThresholdSlider.value = threshold
        assert display.GetLowerThreshold() == threshold
        assert segment_voxels(made) == (heat(made) >= threshold).sum()
    assert "case_1 segmentation" in [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    move(ready, 3.0)
    assert not [r for r in server.world.requests[asked:] if "/train" not in r], "nothing is sent"


def test_reset_goes_back_to_the_models_own_threshold(ready: User) -> None:
    made = detect(ready)
    assert not ready.ui.resetThresholdButton.enabled
    move(ready, 2.0)
    ready.press("resetThresholdButton")
    assert ready.state.detection.threshold == made.threshold and not ready.ui.resetThresholdButton.enabled
    assert segment_voxels(made) == (heat(made) >= np.float32(made.threshold)).sum()


def test_the_interface_keeps_up_with_the_slider(ready: User) -> None:
    detect(ready)
    ready.longest_gap = 0.0
    for step in range(20):
        ready.ui.heatThresholdSlider.value = 1.0 + 0.3 * step
        ready.host.process(1)
    move(ready, 3.0)
    assert ready.longest_gap < 0.6, "the interface stood still"


def test_a_threshold_from_a_script_is_shown(ready: User) -> None:
    detect(ready)
    ready.module.widget.logic.workflow.move_threshold(2.5)
    assert ready.ui.heatThresholdSlider.value == 2.5 and "Heat 2.5" in ready.ui.heatThresholdLabel.text


def test_a_corrected_segment_is_left_alone_and_that_is_said(ready: User) -> None:
    made = detect(ready)
    move(ready, 3.0)
    assert not shows(ready, "correctedLabel")
    node = slicer.mrmlScene.GetNodeByID(made.segmentation)
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    mine = np.zeros(heat(made).shape, np.uint8)
    mine[20, 20:24, 20:24] = 1
    volume = slicer.mrmlScene.GetNodeByID(made.volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mine, node, segment_id, volume)
    ready.ui.heatThresholdSlider.value = 5.0
    assert segment_voxels(made) == 16 and shows(ready, "correctedLabel")
    node.GetSegmentation().RemoveSegment(segment_id)
    ready.ui.heatThresholdSlider.value = 4.0
    assert segment_voxels(made) == (heat(made) >= 4.0).sum() and not shows(ready, "correctedLabel")


# The findings


def test_findings_are_listed_by_peak_or_size(ready: User) -> None:
    detect(ready)
    assert rows(ready) == [["1", "0.10", "9", "< 1 of 121"]]
    move(ready, 3.0)
    assert [row[0] for row in rows(ready)] == ["1", "2", "3"]
    assert [row[2] for row in rows(ready)] == ["9", "5", "3.5"] and rows(ready)[2][3] == "1 of 3"
    header = ready.ui.findingsTable.horizontalHeader()
    header._qt.sectionClicked.emit(1)
    sizes = [finding.voxels for finding in ready.panel("FindingsPanel").rows()]
    assert sizes == sorted(sizes, reverse=True) and header.sortIndicatorSection() == 1
    header._qt.sectionClicked.emit(2)
    assert header.sortIndicatorSection() == 2
    ready.picture("findings")


def test_a_click_takes_the_views_to_the_hottest_voxel(ready: User, host: Host) -> None:
    made = detect(ready)
    crosshair = host.scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    ready.ui.findingsTable._qt.cellClicked.emit(0, 2)
    hottest = [*np.argwhere(heat(made) == 9.0)[0][::-1], 1.0]
    matrix = slicer.util.arrayFromVTKMatrix(_ijk_to_ras(made))
    place = (matrix @ hottest)[:3]
    assert crosshair.GetCrosshairRAS() == pytest.approx(place)
    assert crosshair.GetCrosshairMode() == crosshair.ShowSmallBasic
    for view, axis in (("Red", 2), ("Green", 1), ("Yellow", 0)):
        plane = slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode().GetSliceToRAS()
        assert plane.GetElement(axis, 3) == pytest.approx(place[axis]), view
    ready.press("undoDetectionButton")
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair


def _ijk_to_ras(made: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    slicer.mrmlScene.GetNodeByID(made.heat).GetIJKToRASMatrix(matrix)
    return matrix


def test_a_crosshair_of_the_users_own_stays(ready: User, host: Host) -> None:
    crosshair = host.scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(crosshair.ShowBasic)
    detect(ready)
    ready.ui.findingsTable._qt.cellClicked.emit(0, 0)
    ready.press("undoDetectionButton")
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic


def test_no_finding_and_too_many(ready: User, server: Any) -> None:
    def many(voxels: np.ndarray) -> np.ndarray:
        array = np.zeros(voxels.shape, np.float32)
        array[::4, ::4, ::4] = 6.0 + np.random.default_rng(1).random(array[::4, ::4, ::4].shape)
        return array

    server.world.heat = many
    made = detect(ready)
    assert len(rows(ready)) == 50
    assert ready.ui.findingsLabel.text == f"{made.findings.count - 50} cooler findings more are not listed."
    move(ready, 7.0)
    assert not shows(ready, "findingsTable") and "No finding" in ready.ui.findingsLabel.text


def test_a_single_slice_is_measured_in_mm2(ready: User, server: Any, host: Host) -> None:
    flat = slicer.util.addVolumeFromArray(np.zeros((1, 40, 40), np.int16), name="radiograph")
    ready.panel("DetectPanel").inputs.selectors["image"].setCurrentNode(flat)
    host.desk.answers = ["Send"]
    detect(ready)
    assert ready.ui.findingsTable.horizontalHeaderItem(1).text() == "Size (mm²)"
    assert float(rows(ready)[0][1]) == (heat(ready.state.detection) >= 5.52).sum()

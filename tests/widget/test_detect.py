"""The panel Detect: its models and options, the heat map and its threshold, the findings, verdicts on the study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util

from tests.host import Host
from tests.host.user import User

ANOMALY, SEGMENTATION = "brain_anomaly", "hippocampus_segmentation"
VIEWS = ("Red", "Green", "Yellow")


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user who is connected, has a study and has opened the section."""
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


# What there is to choose


def test_its_models_left_the_section_model(ready: User) -> None:
    box = ready.ui.detectionModelBox
    assert [box.itemData(i) for i in range(box.count)] == [ANOMALY]
    assert [ready.ui.modelBox.itemData(i) for i in range(ready.ui.modelBox.count)] == [SEGMENTATION]
    assert "no diagnosis" in ready.ui.detectionLabel.text and "IXI" in ready.ui.detectionLabel.toolTip
    assert list(ready.panel("DetectPanel").form.fields) == ["false_positives", "refine"]
    assert not shows(ready, "detectionFrame"), "nothing to look at yet"


def test_without_an_anomaly_model_the_section_says_so(user: User, server: Any) -> None:
    assert not user.ui.detectSection.enabled and "Connect" in user.ui.detectSection.toolTip
    server.world.anomaly = {}
    user.connect(server.url)
    assert not user.ui.detectSection.enabled and "no model that detects" in user.ui.detectSection.toolTip
    assert not shows(user, "judgeFrame")


def test_why_it_cannot_be_pressed(user: User, server: Any) -> None:
    assert "Connect" in user.ui.detectButton.toolTip and not user.ui.detectButton.enabled
    user.connect(server.url)
    for name in ("detectButton", "markNormalButton", "markAbnormalButton"):
        assert "Choose a volume first" in getattr(user.ui, name).toolTip and not getattr(user.ui, name).enabled
    assert "nothing to undo" in user.ui.undoDetectionButton.toolTip


def test_options_are_sent_and_kept(ready: User, server: Any) -> None:
    ready.panel("DetectPanel").form.field("false_positives").widget.value = 0.2
    detect(ready)
    sent = server.world.infer_params[-1]
    assert (sent["false_positives"], sent["refine"], sent["result_extension"]) == (0.2, False, ".zip")
    assert '"false_positives": 0.2' in ready.module.widget.shared.parameters.options


def test_any_volume_of_the_scene_after_consent(ready: User, server: Any, host: Host) -> None:
    mine = ready.module.python.add_phantom("Smith^John")
    ready.panel("DetectPanel").inputs.selectors["image"].setCurrentNode(mine)
    host.desk.answers = ["Do not send"]
    assert detect(ready) is None and server.world.received == []
    ready.until(lambda: "Nothing was sent" in ready.says, "the refusal")
    host.desk.answers = ["Send"]
    made = detect(ready)
    assert made.volume == mine.GetID() and layers("Red")[:2] == (mine.GetID(), made.heat)
    assert ready.module.widget.shared.volume.GetName() == "case_1", "the study stays the study"


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
    assert ready.longest_gap < 0.25, "the interface stood still"


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


# Verdicts


def test_marks_of_the_study(ready: User, server: Any) -> None:
    ready.until(lambda: "0 normal, 0 abnormal" in ready.ui.markedLabel.text, "the counts")
    assert ready.ui.verdictOfLabel.text == "Study <b>case_1</b> is not marked."
    assert not ready.ui.takeBackButton.enabled
    ready.press("markNormalButton")
    ready.idle()
    assert server.world.verdicts == {"case_1": "normal"}
    assert ready.ui.markedLabel.text.startswith("1 normal, 0 abnormal marked for this model.")
    assert "Training" in ready.ui.markedLabel.text
    assert ready.ui.verdictOfLabel.text == "Study <b>case_1</b> is marked <b>normal</b>."
    assert not ready.ui.markNormalButton.enabled and "already" in ready.ui.markNormalButton.toolTip
    ready.press("markAbnormalButton")
    ready.idle()
    assert server.world.verdicts == {"case_1": "abnormal"}
    ready.press("takeBackButton")
    ready.idle()
    assert server.world.verdicts == {} and ready.ui.markNormalButton.enabled


def test_marking_a_volume_of_the_scene_asks_first(ready: User, server: Any, host: Host) -> None:
    mine = ready.module.python.add_phantom("Smith^John")
    ready.panel("DetectPanel").inputs.selectors["image"].setCurrentNode(mine)
    assert "adds it to the server's studies, after you agree" in ready.ui.verdictOfLabel.text
    host.desk.answers = ["Do not send"]
    ready.press("markAbnormalButton")
    ready.idle()
    assert server.world.verdicts == {} and len(server.world.studies) == 3
    host.desk.answers = ["Send"]
    ready.press("markAbnormalButton")
    ready.idle()
    assert list(server.world.verdicts.values()) == ["abnormal"] and len(server.world.studies) == 4
    assert "is marked <b>abnormal</b>" in ready.ui.verdictOfLabel.text


def test_a_refused_mark_is_told(ready: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    server.world.trouble["/verdict"] = Refusal(422, "cannot_process", "It is no brain.", "Mark brains.")
    ready.press("markNormalButton")
    ready.idle()
    assert "It is no brain." in ready.says and "Mark brains." in ready.says and ready.ui.markNormalButton.enabled


def test_training_learns_from_the_marks(ready: User, server: Any) -> None:
    assert [ready.ui.trainModelBox.itemData(i) for i in (0, 1)] == [SEGMENTATION, ANOMALY]
    ready.press("markNormalButton")
    ready.idle()
    server.world.verdicts["other"] = "abnormal"
    ready.open_only("trainSection")
    assert ready.ui.trainModelBox.currentIndex == 1, "it follows what one works with"
    assert "learns from the marked studies: 1 normal, 0 abnormal so far" in ready.ui.trainLabel.text
    ready.press("startButton")
    ready.idle()
    assert f"POST /train/{ANOMALY}" in server.world.requests
    ready.ui.trainModelBox.currentIndex = 0
    assert "learns from all submitted labels" in ready.ui.trainLabel.text
    assert ready.ui.versionsModelBox.currentIndex == ready.ui.submitModelBox.currentIndex == 0


def test_a_corrected_anomaly_can_be_submitted(ready: User, server: Any) -> None:
    made = detect(ready)
    ready.submit()
    from MedGANLib.testing.images import read_nrrd

    labels = read_nrrd(server.world.labels["case_1"])[0]
    assert np.array_equal(labels == 1, heat(made) >= np.float32(made.threshold))
    ready.run()
    assert ready.ui.submitModelBox.currentIndex == 0, "the model that ran last"


# Undo, other studies, leaving


def test_undo(ready: User) -> None:
    study = ready.module.widget.shared.volume.GetID()
    first = detect(ready)
    second = detect(ready)
    assert layers("Red") == (study, second.heat, 0.7)
    ready.press("undoDetectionButton")
    assert layers("Red") == (study, first.heat, 0.7)
    ready.press("undoDetectionButton")
    assert {layers(view) for view in VIEWS} == {(study, "", 0.0)}
    assert not ready.ui.undoDetectionButton.enabled and not shows(ready, "detectionFrame")
    assert [v.GetName() for v in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["case_1"]
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_another_study_takes_over_the_views(ready: User, server: Any) -> None:
    detect(ready)
    server.world.labels["case_1"] = b""
    ready.take_next()
    study = ready.module.widget.shared.volume
    assert study.GetName() == "case_2"
    assert {layers(view) for view in VIEWS} == {(study.GetID(), "", 0.0)}


def test_the_section_correct_does_not_open_by_itself(ready: User) -> None:
    detect(ready)
    assert ready.ui.correctSection.collapsed, "it would push what one looks at away"


def test_a_heat_map_that_the_user_removed(ready: User, host: Host) -> None:
    made = detect(ready)
    host.scene.RemoveNode(host.scene.GetNodeByID(made.heat))
    ready.ui.heatThresholdSlider.value = 2.0
    ready.module.exit()
    ready.module.enter()
    assert not shows(ready, "detectionFrame")
    assert detect(ready) is not made and shows(ready, "detectionFrame")


def test_closing_the_scene(ready: User, host: Host) -> None:
    detect(ready)
    ready.ui.heatThresholdSlider.value = 2.0
    host.scene.Clear(0)
    ready.host.process(300)
    assert not shows(ready, "detectionFrame") and not ready.ui.detectButton.enabled
    assert not ready.ui.undoDetectionButton.enabled and not ready.ui.markNormalButton.enabled
    ready.take_next()
    made = detect(ready)
    assert layers("Red")[:2] == (made.volume, made.heat)


# When it goes wrong


def test_cancel_while_it_runs(ready: User, server: Any) -> None:
    server.world.infer_seconds = 20.0
    ready.press("detectButton")
    ready.until(lambda: any("/infer/" in r for r in server.world.requests), "the request")
    for name in ("detectButton", "markNormalButton"):
        assert not getattr(ready.ui, name).enabled and "Busy" in getattr(ready.ui, name).toolTip
    ready.press("cancelButton")
    ready.idle(3)
    ready.until(lambda: any(r.startswith("DELETE /jobs/") for r in server.world.requests), "the cancel at the server")
    assert ready.state.detection is None and ready.ui.detectButton.enabled


def test_a_refusal_is_shown(ready: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    server.world.trouble["/infer"] = Refusal(422, "cannot_process", "This is no brain.", "Give an MR of the head.")
    assert detect(ready) is None
    assert "This is no brain." in ready.says and "Give an MR of the head." in ready.says
    server.world.trouble.clear()
    assert detect(ready) is not None


def test_words_from_the_server_cannot_be_markup(ready: User, server: Any) -> None:
    server.world.anomaly["description"] = "<img src=x>"
    ready.connect(server.url)
    assert "&lt;img" in ready.ui.detectionLabel.text and "<img" not in ready.ui.detectionLabel.text

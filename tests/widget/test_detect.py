"""The panel Detect: its models and options, verdicts on the study, undo and leaving, when it goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from detecting import ANOMALY, SEGMENTATION, VIEWS, detect, heat, layers, opened, shows

from tests.host import Host
from tests.host.user import User


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user who is connected, has a study and has opened the section."""
    return opened(user, server)


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

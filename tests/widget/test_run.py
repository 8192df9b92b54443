"""Running a model: consent, options from the schema, cancel, undo, errors."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util

from tests.host import Host
from tests.host.user import User


def _segments(user: User) -> dict[str, int]:
    """Voxels of each segment by name."""
    node = user.module.widget.shared.segmentation
    volume = user.module.widget.shared.volume
    segmentation = node.GetSegmentation() if node else None
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())] if segmentation else []
    return {
        segmentation.GetSegment(i).GetName(): int(slicer.util.arrayFromSegmentBinaryLabelmap(node, i, volume).sum())
        for i in ids
    }


def _start_with_own_volume(user: User, server: Any) -> Any:
    volume = user.module.python.add_phantom()
    user.connect(server.url)
    user.choose(volume)
    return volume


def test_run_is_explained_until_it_is_possible(user: User, server: Any) -> None:
    user.connect(server.url)
    assert not user.ui.runButton.enabled
    assert "Choose a volume" in user.ui.runButton.toolTip
    user.take_next()
    assert user.ui.runButton.enabled


def test_nothing_is_sent_without_consent(user: User, server: Any, host: Host) -> None:
    _start_with_own_volume(user, server)
    host.desk.answers = ["Do not send"]
    user.run()
    assert server.world.received == []
    assert len(host.desk.shown) == 1
    assert user.ui.runButton.enabled
    question = host.desk.shown[0]
    assert server.url in question
    assert "Not sent" in question


def test_consent_is_asked_once_for_a_server(user: User, server: Any, host: Host) -> None:
    from MedGANLib.panels import preferences

    _start_with_own_volume(user, server)
    host.desk.answers = ["Send"]
    host.desk.on_show = lambda box: box.checkBox().setChecked(True)
    user.run()
    assert len(server.world.received) == 1
    user.run()
    assert len(server.world.received) == 2
    assert len(host.desk.shown) == 1
    assert preferences.has_consent(server.url, stored=False)
    assert not preferences.has_consent(server.url, stored=True), "to keep a volume is another question"


def test_consent_dialog_looks_right(user: User, server: Any, host: Host) -> None:
    _start_with_own_volume(user, server)
    host.desk.answers = ["Send"]
    path = user.picture("before-consent").with_name("slicer-consent.png")
    host.desk.on_show = lambda box: box.grab().save(str(path))
    user.run()
    assert path.stat().st_size > 1000


def test_result_is_in_place(user: User, server: Any) -> None:
    volume = _start_with_study(user, server)
    expected = server.world.segment(slicer.util.arrayFromVolume(volume))
    user.run()
    assert "2 segments in" in user.says
    assert _segments(user) == {"anterior": int((expected == 1).sum()), "posterior": int((expected == 2).sum())}
    assert not user.ui.correctSection.collapsed, "the next step opens"
    editor = user.panel("CorrectPanel").editor
    assert editor.segmentationNode() is user.module.widget.shared.segmentation
    assert editor.sourceVolumeNode() is volume
    user.open_only("runSection", "correctSection")
    user.picture("result")


def _start_with_study(user: User, server: Any) -> Any:
    user.connect(server.url)
    user.take_next()
    return user.module.widget.shared.volume


def test_options_come_from_the_schema_and_are_sent(user: User, server: Any, host: Host) -> None:
    _start_with_study(user, server)
    form = user.panel("RunPanel").form
    form.field("test_time_augmentation").widget.checked = False
    form.field("smoothing").widget.value = 1.5
    form.field("tiles").widget.value = 4
    form.field("precision").widget.currentIndex = 1
    points = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "here")
    points.AddControlPoint([1.0, 2.0, 3.0])
    form.field("points").selector.setCurrentNode(points)
    user.run()
    sent = server.world.infer_params[-1]
    wanted = {"test_time_augmentation": False, "smoothing": 1.5, "tiles": 4, "precision": "half"}
    assert {k: sent[k] for k in wanted} == wanted
    np.testing.assert_allclose(sent["points"], [[1.0, 2.0, 3.0]])
    assert "roi" not in sent


def test_region_is_sent_in_ras(user: User, server: Any, host: Host) -> None:
    _start_with_study(user, server)
    roi = host.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetXYZ(5.0, -6.0, 7.0)
    roi.SetRadiusXYZ(10.0, 11.0, 12.0)
    user.panel("RunPanel").form.field("roi").selector.setCurrentNode(roi)
    user.run()
    sent = server.world.infer_params[-1]["roi"]
    np.testing.assert_allclose(sent["center"], [5, -6, 7], atol=1e-3)
    np.testing.assert_allclose(sent["size"], [20, 22, 24], atol=1e-3)


def test_place_point_makes_a_node_and_starts_placing(user: User, server: Any) -> None:
    _start_with_study(user, server)
    field = user.panel("RunPanel").form.field("points")
    field.button.click()
    assert field.value().IsA("vtkMRMLMarkupsFiducialNode")
    assert field._placer.placeModeEnabled


def test_points_of_one_study_are_not_used_for_the_next(user: User, server: Any) -> None:
    _start_with_study(user, server)
    field = user.panel("RunPanel").form.field("points")
    field.button.click()
    field.value().AddControlPoint([1.0, 2.0, 3.0])
    server.world.labels["case_1"] = b""
    user.take_next()
    assert field.value() is None


def test_options_are_kept_with_the_scene(user: User, server: Any) -> None:
    _start_with_study(user, server)
    panel = user.panel("RunPanel")
    panel.form.field("tiles").widget.value = 7
    user.run()
    user.module.widget.logic.workflow.disconnect()
    user.connect(server.url)
    assert panel.form.values()["tiles"] == 7


@pytest.mark.parametrize(
    "text", ["not json", "[1]", '{"hippocampus_segmentation": 3}', '{"hippocampus_segmentation": {"tiles": "many"}}']
)
def test_strange_options_of_a_scene_do_no_harm(user: User, server: Any, text: str) -> None:
    user.module.widget.shared.parameters.options = text
    _start_with_study(user, server)
    assert user.panel("RunPanel").form.values()["tiles"] == 2, "the server's default"
    user.run()
    assert _segments(user)


def test_a_share_is_a_slider(user: User, server: Any) -> None:
    _start_with_study(user, server)
    form = user.panel("RunPanel").form
    schema = {"type": "number", "title": "GAN strength", "x-widget": "slider", "minimum": 0.0, "maximum": 1.0}
    form.draw({"strength": {**schema, "default": 0.0}}, {})
    assert form.values() == {"strength": 0.0}
    form.field("strength").widget.value = 0.35
    assert form.values() == {"strength": 0.35}
    user.picture("slider")
    for saved, wanted in ((0.6, 0.6), (7.0, 1.0), ("much", 0.0)):
        form.draw({"strength": {**schema, "default": 0.0}}, {"strength": saved})
        assert form.values() == {"strength": wanted}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dice_mean", "Dice"), ("dice_anterior", "Dice, anterior"), ("auroc", "AUROC"), ("psnr_l1_2x", "psnr_l1_2x"),
    ],
)  # fmt: skip
def test_figures_are_named_as_people_write_them(host: Host, name: str, shown: str) -> None:
    from MedGANLib.panels.look import metric_name

    assert metric_name(name) == shown


def test_a_model_that_was_never_measured_says_so(user: User, server: Any) -> None:
    from MedGANLib.panels.models import model_text

    user.connect(server.url)
    model = user.state.models[0]
    assert "not measured" in model_text(dataclasses.replace(model, metrics={}))
    assert "not measured" not in model_text(model)


def test_what_a_model_gives_is_told_by_its_task(user: User, server: Any) -> None:
    from MedGANLib.panels.models import model_text

    user.connect(server.url)
    model = user.state.models[0]
    finer = dataclasses.replace(model, task="reconstruction", output="volume")
    assert "made by a network from what was measured" in model_text(finer) and finer.reconstructs
    assert "synthetic" in model_text(dataclasses.replace(finer, task="others"))
    assert "no diagnosis" in model_text(dataclasses.replace(finer, task="anomaly", output="both"))
    assert "marked" not in model_text(model)


def test_cancel_ends_the_run_here_and_there(user: User, server: Any) -> None:
    server.world.infer_seconds = 30.0
    gc.collect()  # what earlier tests left behind shall not stop the interface in this one
    _start_with_study(user, server)
    user.press("runButton")
    user.until(lambda: any("/infer/" in r for r in server.world.requests), "the request")
    assert user.ui.cancelButton.enabled
    assert not user.ui.runButton.enabled
    user.host.process(200)
    user.picture("running")
    user.press("cancelButton")
    user.idle(3)
    user.until(lambda: any(r.startswith("DELETE /jobs/") for r in server.world.requests), "the cancel at the server")
    assert _segments(user) == {}
    assert user.ui.runButton.enabled
    assert user.longest_gap < 0.6, "the interface stood still"


def test_undo_is_one_step_and_spares_manual_segments(user: User, server: Any, host: Host) -> None:
    volume = _start_with_study(user, server)
    manual = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    manual.CreateDefaultDisplayNodes()
    manual.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = manual.GetSegmentation().AddEmptySegment("", "lesion")
    drawn = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    drawn[5:9, 5:9, 5:9] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, manual, segment, volume)
    user.ui.segmentationSelector.setCurrentNode(manual)
    user.run()
    assert set(_segments(user)) == {"lesion", "anterior", "posterior"}
    user.press("undoButton")
    user.host.process()
    assert _segments(user) == {"lesion": 64}
    assert not user.ui.undoButton.enabled


def test_corrected_segments_are_not_overwritten_unasked(user: User, server: Any, host: Host) -> None:
    volume = _start_with_study(user, server)
    user.run()
    node = user.module.widget.shared.segmentation
    first = node.GetSegmentation().GetNthSegmentID(0)
    edited = slicer.util.arrayFromSegmentBinaryLabelmap(node, first, volume).copy()
    edited[::2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, first, volume)
    host.desk.answers = ["Keep"]
    user.run()
    assert any("You corrected" in text for text in host.desk.shown)
    assert int(edited.sum()) in _segments(user).values()


def test_a_refusal_shows_reason_and_hint_and_the_button_lives(user: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    _start_with_study(user, server)
    reason = Refusal(422, "needs_region", "The whole head is shown.", "Place a point near a hippocampus.")
    server.world.trouble["/infer"] = reason
    user.run()
    assert "The whole head is shown." in user.says
    assert "Place a point near a hippocampus." in user.says
    assert user.state.message.kind == "error"
    user.picture("refusal")
    server.world.trouble.clear()
    user.run()
    assert _segments(user)


def test_words_from_the_server_cannot_be_markup(user: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    _start_with_study(user, server)
    server.world.trouble["/infer"] = Refusal(500, "oops", "<img src='http://evil.example/x.png'> broke")
    user.run()
    assert "<img" not in user.ui.messageLabel.text
    assert "<img" not in user.ui.hintLabel.text


def test_the_scene_is_kept_when_the_next_study_comes(user: User, server: Any, host: Host) -> None:
    mine = user.module.python.add_phantom("mine")
    _start_with_study(user, server)
    assert host.scene.GetNodeByID(mine.GetID()) is mine
    assert user.module.widget.shared.volume is not mine


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"value": 28.31, "title": "PSNR, twice as fine", "unit": "dB"}, "PSNR, twice as fine: 28.3 dB"),
        ({"value": 0.9581, "title": "AUROC"}, "AUROC: 0.958"),
        ({"value": 0.5}, "something_new: 0.5"),
        (0.25, "something_new: 0.25"),
        ({"value": None}, "not measured"),
        ({"value": True}, "not measured"),
    ],
)  # fmt: skip
def test_the_servers_titles_are_shown_and_nothing_is_guessed(host: Host, entry: Any, shown: str) -> None:
    from MedGANLib.panels.look import main_metric

    assert main_metric({"something_new": entry}) == shown


def test_a_new_version_leaves_what_was_set_and_placed(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    user.take_next()
    form = user.panel("RunPanel").form
    points = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "here")
    form.field("points").selector.setCurrentNode(points)
    name, field = next((n, f) for n, f in form.fields.items() if type(f).__name__ == "BoolField")
    field.widget.checked = not field.widget.checked
    wanted = field.value()
    models = tuple(dataclasses.replace(m, version="v0099") for m in user.state.models)
    user.module.widget.logic.workflow._update(models=models)
    assert "v0099" in user.ui.modelLabel.text
    assert form.node("points") is points and form.field(name).value() == wanted
    schema = {"properties": {**models[0].option_properties, "new": {"type": "string", "default": "x"}}}
    user.module.widget.logic.workflow._update(models=(dataclasses.replace(models[0], options=schema), *models[1:]))
    assert form.field("new") is not None and form.field(name).value() == wanted


def test_a_volume_that_cannot_be_sent_yet_does_not_get_the_segments_of_another(
    user: User, server: Any, host: Host
) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    before = _segments(user)
    shared, first = user.module.widget.shared, user.module.widget.shared.segmentation
    volume = user.module.python.add_phantom()
    warp = host.scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    volume.SetAndObserveTransformNodeID(warp.GetID())
    user.choose(volume)
    user.until(lambda: "non-linear" in user.says, "the reason")
    assert shared.segmentation is None
    volume.SetAndObserveTransformNodeID(None)
    host.desk.answers = ["Send"]
    user.run()
    assert shared.volume is volume and shared.segmentation is not first
    user.choose(host.scene.GetFirstNodeByName("case_1"))
    assert shared.segmentation is first and _segments(user) == before


def test_agreements_of_this_session_can_be_taken_back(user: User, server: Any, host: Host) -> None:
    _start_with_own_volume(user, server)
    user.ui.accessButton.checked = True
    assert not user.ui.forgetButton.enabled
    host.desk.answers = ["Send"]
    user.run()
    assert "until Slicer is closed" in host.desk.shown[0], "what the answer holds for"
    user.press("forgetButton")
    assert not user.ui.forgetButton.enabled
    host.desk.answers = ["Do not send"]
    user.run()
    assert len(host.desk.shown) == 2 and len(server.world.received) == 1


def test_the_model_that_a_scene_brings_is_the_one_that_is_shown(user: User, server: Any) -> None:
    user.connect(server.url)
    (first, *others) = user.state.models
    second = dataclasses.replace(first, name="second", title="Second")
    user.module.widget.logic.workflow._update(models=(first, second, *others))
    assert user.ui.modelBox.currentText == first.title
    user.module.widget.shared.parameters.model = "second"
    assert user.module.widget.shared.model.name == "second" and user.ui.modelBox.currentText == "Second"

"""Correcting by clicks at the panel: buttons, colours, scribbles, the way back, and servers that cannot do it."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from MedGANLib.volumes import affine

from tests.host import Host
from tests.host.user import User

FAR = (4, 4, 4)


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user with a result."""
    user.connect(server.url)
    user.take_next()
    user.run()
    return user


def _panel(user: User) -> Any:
    return user.panel("ClicksPanel")


def _place(user: User, voxel: tuple[float, ...] = FAR) -> list[float]:
    return list((affine(user.module.widget.shared.volume) @ [*voxel, 1.0])[:3])


def _click(user: User, voxel: tuple[float, ...] = FAR) -> None:
    """Clicks in a view, as Slicer's own placing does it: a control point of the node being placed."""
    _panel(user).input.node.AddControlPoint(_place(user, voxel))


def _settle(user: User, count: int) -> None:
    user.until(lambda: len(user.state.corrections) == count, "the correction")
    user.idle()


def _marks(host: Host, kind: str) -> list[Any]:
    nodes = [host.scene.GetNthNodeByClass(i, kind) for i in range(host.scene.GetNumberOfNodesByClass(kind))]
    return [n for n in nodes if n.GetClassName() == kind and n.GetLocked()]


def _value(user: User, label: str, voxel: tuple[int, ...] = FAR) -> bool:
    node, volume = user.module.widget.shared.segmentation, user.module.widget.shared.volume
    segments = node.GetSegmentation()
    ids = [segments.GetNthSegmentID(i) for i in range(segments.GetNumberOfSegments())]
    segment_id = next(i for i in ids if segments.GetSegment(i).GetName() == label)
    return bool(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)[voxel[::-1]])


def test_a_click_repairs_the_segment_at_once(ready: User, server: Any, host: Host) -> None:
    panel = _panel(ready)
    assert {label: b.text for label, b in panel.buttons.items()} == {
        "anterior": "Add to anterior",
        "posterior": "Add to posterior",
        "background": "Remove",
    }
    panel.buttons["posterior"].click()
    assert panel.buttons["posterior"].checked and panel.input._placer.placeModeEnabled
    assert "Click where <b>posterior</b> is" in ready.ui.clicksLabel.text
    _click(ready)
    _settle(ready, 1)
    assert _value(ready, "posterior")
    assert panel.buttons["posterior"].checked, "the next click needs no other one"
    assert panel.input.node.GetNumberOfControlPoints() == 0
    (mark,) = _marks(host, "vtkMRMLMarkupsFiducialNode")
    np.testing.assert_allclose(mark.GetDisplayNode().GetSelectedColor(), (0.3, 0.6, 0.9), atol=1e-6)
    assert "1 correction in the result." in ready.ui.clicksLabel.text
    ready.open_only("correctSection")
    ready.picture("clicked")


def test_the_marks_are_no_points_of_the_clinician(ready: User, host: Host) -> None:
    _panel(ready).buttons["anterior"].click()
    _click(ready)
    _settle(ready, 1)
    assert ready.panel("RunPanel").form.field("points").selector.nodeCount() == 0
    (mark,) = _marks(host, "vtkMRMLMarkupsFiducialNode")
    assert not mark.GetSaveWithScene()


def test_a_right_click_ends_it_and_leaving_the_module_too(ready: User) -> None:
    panel = _panel(ready)
    panel.buttons["anterior"].click()
    panel.input._placer.placeModeEnabled = False
    ready.until(lambda: not panel.buttons["anterior"].checked, "the end")
    panel.buttons["anterior"].click()
    ready.module.exit()
    assert panel.input.node is None and not panel.input._placer.placeModeEnabled


def test_buttons_have_keys(ready: User) -> None:
    buttons = _panel(ready).buttons
    keys = {label: button.shortcut.toString() for label, button in buttons.items()}
    assert keys == {"anterior": "Alt+1", "posterior": "Alt+2", "background": "Alt+0"}
    assert "Alt+1" in buttons["anterior"].toolTip


def test_a_scribble_is_one_correction(ready: User, server: Any, host: Host) -> None:
    ready.ui.scribbleBox.checked = True
    panel = _panel(ready)
    panel.buttons["background"].click()
    runs = len(server.world.infer_params)
    for voxel in ((20, 28, 20), (24, 28, 20), (28, 30, 20)):
        _click(ready, voxel)
    ready.host.process(30)
    assert ready.ui.finishScribbleButton.enabled and len(server.world.infer_params) == runs
    ready.picture("scribble")
    ready.press("finishScribbleButton")
    _settle(ready, 1)
    (sent,) = server.world.infer_params[-1]["clicks"]
    assert sent["label"] == "background" and len(sent["points"]) == 3
    (curve,) = _marks(host, "vtkMRMLMarkupsCurveNode")
    assert curve.GetNumberOfControlPoints() == 3
    assert not panel.buttons["background"].checked


def test_an_unfinished_scribble_is_the_last_thing_done(ready: User, server: Any) -> None:
    ready.ui.scribbleBox.checked = True
    _panel(ready).buttons["anterior"].click()
    runs = len(server.world.infer_params)
    _click(ready)
    ready.until(lambda: ready.ui.undoClickButton.enabled, "the button")
    ready.press("undoClickButton")
    assert _panel(ready).input.node is None and len(server.world.infer_params) == runs


def test_undo_and_clear(ready: User, server: Any, host: Host) -> None:
    _panel(ready).buttons["anterior"].click()
    assert not ready.ui.undoClickButton.enabled
    _click(ready)
    _settle(ready, 1)
    _click(ready, (40, 50, 35))
    _settle(ready, 2)
    ready.press("undoClickButton")
    _settle(ready, 1)
    assert _value(ready, "anterior") and not _value(ready, "anterior", (40, 50, 35))
    ready.press("clearClicksButton")
    _settle(ready, 0)
    assert not _value(ready, "anterior") and _marks(host, "vtkMRMLMarkupsFiducialNode") == []


def test_clicks_while_the_model_runs_travel_together(ready: User, server: Any) -> None:
    gc.collect()  # what earlier tests left behind shall not stop the interface in this one
    server.world.infer_seconds, runs, ready.longest_gap = 1.0, len(server.world.infer_params), 0.0
    _panel(ready).buttons["anterior"].click()
    _click(ready)
    ready.until(lambda: ready.state.job is not None, "the request")
    for step in range(1, 4):
        _click(ready, (4 + step, 4, 4))
        ready.host.process(20)
    assert "the model is asked" in ready.ui.clicksLabel.text
    ready.until(lambda: not ready.module.widget.logic.workflow.corrections_wait and ready.state.job is None, "the end")
    assert [len(params["clicks"]) for params in server.world.infer_params[runs:]] == [1, 4]
    assert ready.longest_gap < 0.9, "the interface waited for the server"


def test_a_click_outside_is_refused_with_a_reason(ready: User, server: Any) -> None:
    runs = len(server.world.infer_params)
    _panel(ready).buttons["anterior"].click()
    _click(ready, (-6, 4, 4))
    ready.until(lambda: "The click lies outside" in ready.says, "the refusal")
    assert "Click inside the image." in ready.says and len(server.world.infer_params) == runs
    assert _panel(ready).input.node.GetNumberOfControlPoints() == 0


def test_the_options_of_the_form_are_kept(ready: User, server: Any) -> None:
    ready.panel("RunPanel").form.field("tiles").widget.value = 5
    assert ready.panel("RunPanel").form.field("clicks") is None, "corrections have no row of their own"
    _panel(ready).buttons["anterior"].click()
    _click(ready)
    _settle(ready, 1)
    assert server.world.infer_params[-1]["tiles"] == 5
    ready.run()
    assert len(server.world.infer_params[-1]["clicks"]) == 1, "Run sends them too"


def test_edits_by_hand_outlast_a_click(ready: User, server: Any) -> None:
    node, volume = ready.module.widget.shared.segmentation, ready.module.widget.shared.volume
    first = node.GetSegmentation().GetNthSegmentID(0)
    edited = slicer.util.arrayFromSegmentBinaryLabelmap(node, first, volume).copy()
    edited[::2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, first, volume)
    _panel(ready).buttons["posterior"].click()
    _click(ready)
    _settle(ready, 1)
    np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, first, volume), edited)
    assert "What you changed by hand was kept" in ready.says
    assert ready.host.desk.shown == [], "nothing is asked at every click"


def test_corrections_and_marks_go_with_the_study(ready: User, server: Any, host: Host) -> None:
    _panel(ready).buttons["anterior"].click()
    _click(ready)
    _settle(ready, 1)
    server.world.labels["case_1"] = b""
    ready.take_next()
    assert ready.state.corrections == () and _marks(host, "vtkMRMLMarkupsFiducialNode") == []
    assert not _panel(ready).buttons["anterior"].checked


def test_closing_the_scene_while_placing(ready: User, host: Host) -> None:
    _panel(ready).buttons["anterior"].click()
    _click(ready)
    _settle(ready, 1)
    host.scene.Clear(0)
    ready.host.process(50)
    assert ready.state.corrections == () and _panel(ready).input.node is None
    ready.take_next()
    ready.run()
    _panel(ready).buttons["anterior"].click()
    _click(ready)
    _settle(ready, 1)


def test_a_model_without_clicks_shows_no_buttons(user: User, server: Any) -> None:
    server.world.older = True
    user.connect(server.url)
    user.take_next()
    user.run()
    user.open_only("correctSection")
    assert not user.ui.clicksFrame.isVisibleTo(user.ui.correctSection)
    assert not user.ui.qualityLabel.isVisibleTo(user.ui.correctSection)
    assert not user.ui.undoSubmitButton.isVisibleTo(user.ui.correctSection)
    user.submit()
    assert "case_1" in server.world.labels


def test_the_light_says_its_word(ready: User, server: Any) -> None:
    text = ready.ui.qualityLabel.text
    assert "<b>Good</b> · expected Dice <b>0.87</b> (0.80–0.91)" in text and "rgb(46,125,50)" in text
    assert "This looks like good results did." in text
    server.world.quality.update(light="red", expected_dice=0.55, text="<b>Look</b> again.")
    ready.run()
    assert "<b>Poor</b>" in ready.ui.qualityLabel.text and "&lt;b&gt;" in ready.ui.qualityLabel.text
    ready.press("undoButton")
    assert not ready.ui.qualityLabel.isVisibleTo(ready.ui.correctSection)

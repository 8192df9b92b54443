"""What a clinician does with studies and models, against a fake server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from MedGANLib import errors
from MedGANLib.scene import Scene
from MedGANLib.volumes import affine, is_synthetic, known_id, scalar_volumes, voxels
from MedGANLib.workflow import Workflow, points_option, roi_option

from .clinic import Asked, Clinic, fails, submitted
from .fake_server import BOUNDARY, INFO, MODEL, STOCK_INFO, Exchange, FakeServer, form_parts, multipart
from .scenes import (
    GRIDS,
    add_transform,
    add_volume,
    labels,
    names,
    rigid,
)

MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


# Connecting


def test_connect(workflow: Workflow, clinic: Clinic) -> None:
    state = workflow.state
    assert state.connected and state.address == clinic.server.url
    assert [model.name for model in state.models] == ["hippocampus"]
    assert state.message.kind == "success" and "3 studies" in state.message.text


def test_a_failed_connection_can_be_tried_again(workflow: Workflow, clinic: Clinic) -> None:
    clinic.server.reply("GET", "/info/", b"down", status=502)
    report = workflow.wait(workflow.connect(), 10)
    assert not report.ok and not workflow.state.connected and workflow.state.message.kind == "error"
    clinic.server.reply("GET", "/info/", INFO)
    assert workflow.wait(workflow.connect(), 10).ok and workflow.state.connected


@pytest.mark.parametrize("address", ["ftp://x", "http://a b", "https://127.0.0.1:1"])
def test_bad_addresses_are_reported_not_raised(workflow: Workflow, tmp_path: Path, address: str) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("x")
    report = workflow.wait(workflow.connect(address, ca_file=str(bad)), 10)
    assert report.code in ("bad_address", "tls_failed") and workflow.state.message.text == report.message


def test_without_a_connection_every_action_says_so(scene: Scene) -> None:
    workflow = Workflow(scene=scene)
    actions: list[Callable[[], Any]] = [
        workflow.next_sample,
        lambda: workflow.run_model("hippocampus"),
        lambda: workflow.submit("hippocampus"),
        lambda: workflow.start_training("hippocampus"),
        workflow.stop_training,
        lambda: workflow.versions("hippocampus"),
        lambda: workflow.roll_back("hippocampus", "v0001"),
        workflow.upload_study,
    ]
    for action in actions:
        fails(workflow, action(), errors.SceneProblem, "no connection")
    assert not workflow.wait(workflow.connect(), 5).ok
    assert workflow.follow_training() is None and not workflow.undo_last()
    workflow.close()


def test_disconnect(workflow: Workflow) -> None:
    workflow.disconnect()
    assert not workflow.state.connected and workflow.state.models == ()


def test_listeners_hear_every_change(workflow: Workflow) -> None:
    heard: list[tuple[bool, str]] = []
    workflow.changed.connect(lambda state: heard.append((state.job is not None, state.message.text)))
    workflow.wait(workflow.next_sample(), 10)
    assert heard[0][0], "first the job"
    assert heard[-1] == (False, "Study 'case_1' is open.")


# Studies


def test_next_sample_joins_what_is_open(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    mine = add_volume(scene, GRIDS["upright"], "mine")
    volume = workflow.wait(workflow.next_sample(), 10)
    assert scalar_volumes(scene) == [mine, volume]
    assert volume.GetName() == "case_1" and workflow.state.study.image_id == "case_1"
    assert np.allclose(affine(volume), clinic.matrix, atol=1e-4)
    assert np.array_equal(voxels(volume), sitk.GetArrayFromImage(sitk.ReadImage(str(clinic.folder / "study.nii.gz"))))


def test_the_same_sample_is_not_loaded_twice(workflow: Workflow, scene: Scene) -> None:
    first = workflow.wait(workflow.next_sample(), 10)
    assert workflow.wait(workflow.next_sample(), 10) is first
    assert len(scalar_volumes(scene)) == 1


def test_nothing_to_label(workflow: Workflow, clinic: Clinic) -> None:
    contract = {"error": {"code": "nothing_to_label", "message": "All are labelled.", "hint": "Add some.", "id": "1"}}
    clinic.server.reply("POST", "/activelearning/first", contract, status=404)
    fails(workflow, workflow.next_sample(), errors.NotFound, "All are labelled", said="info")
    assert workflow.state.message.hint == "Add some."


def test_use_volume(workflow: Workflow, scene: Scene, user: Asked) -> None:
    volume = add_volume(scene, GRIDS["upright"])
    study = workflow.wait(workflow.use_volume(volume), 10)
    assert study.volume_id == volume.GetID() and study.image_id == "" and not user.requests
    fails(workflow, workflow.use_volume(None), errors.SceneProblem)
    assert workflow.state.study == study, "the earlier study stays"


def test_a_transformed_volume_is_pointed_out(workflow: Workflow, scene: Scene) -> None:
    volume = add_volume(scene, GRIDS["upright"])
    add_transform(scene, volume, rigid())
    workflow.wait(workflow.use_volume(volume), 10)
    assert "transform" in workflow.state.message.details[0]


# Running


def test_run_on_the_server_s_study(workflow: Workflow, scene: Scene, clinic: Clinic, user: Asked) -> None:
    workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("hippocampus", options={"tta": True}), 10)
    segmentation = scene.node(outcome.segmentation_id)
    assert names(segmentation) == ["anterior", "posterior"] and outcome.version == "v0001"
    assert workflow.state.can_undo and workflow.state.study.segmentation_id == outcome.segmentation_id
    assert clinic.sent_volumes() == [] and user.requests == [], "the server has the study: nothing is uploaded"
    assert json.loads(form_parts(clinic.server.requests("POST", "/infer/hippocampus")[0])["params"])["tta"] is True


def test_a_local_volume_is_sent_after_consent_only(
    workflow: Workflow, scene: Scene, clinic: Clinic, user: Asked
) -> None:
    user.answer = False
    volume = add_volume(scene, clinic.matrix, "Smith^John")
    fails(workflow, workflow.run_model("hippocampus", volume), errors.ConsentDeclined, said="info")
    assert clinic.sent_volumes() == []
    user.answer = True
    workflow.wait(workflow.run_model("hippocampus", volume), 10)
    workflow.wait(workflow.run_model("hippocampus", volume), 10)
    assert len(user.requests) == 2, "asked until answered with yes, then not again"
    assert user.requests[0].server == clinic.server.url and not user.requests[0].stored
    assert len(clinic.sent_volumes()) == 2
    assert all(b"Smith" not in content for content in clinic.sent_volumes())


def test_the_active_volume_is_sent_not_the_first(
    workflow: Workflow, scene: Scene, clinic: Clinic, tmp_path: Path
) -> None:
    add_volume(scene, GRIDS["upright"], "first")
    active = add_volume(scene, clinic.matrix, "active")
    voxels(active)[0, 0, 0] = 1234.5
    workflow.wait(workflow.use_volume(active), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    (tmp_path / "sent.nrrd").write_bytes(clinic.sent_volumes()[0])
    sent = sitk.ReadImage(str(tmp_path / "sent.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(sent), voxels(active))


def test_without_anyone_to_ask_nothing_is_uploaded(clinic: Clinic, scene: Scene) -> None:
    workflow = Workflow(scene=scene)
    workflow.wait(workflow.connect(clinic.server.url), 10)
    job = workflow.run_model("hippocampus", add_volume(scene, clinic.matrix))
    fails(workflow, job, errors.ConsentDeclined, said="info")
    assert clinic.sent_volumes() == []
    workflow.close()


def test_volumes_over_the_server_s_limit_are_not_sent(
    workflow: Workflow, scene: Scene, clinic: Clinic, user: Asked
) -> None:
    small = {**INFO, "medgan": {"version": "0.1.0", "limits": {"max_upload_mb": 1, "max_voxels": 100}}}
    clinic.server.reply("GET", "/info/", small)
    workflow.wait(workflow.connect(), 10)
    fails(workflow, workflow.run_model("hippocampus", add_volume(scene, clinic.matrix)), errors.TooLarge, "504 voxels")
    assert not user.requests


def test_points_and_roi_travel_in_ras(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    workflow.wait(workflow.next_sample(), 10)
    points = scene.add("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPointWorld(1.0, 2.0, 3.0)
    points.AddControlPointWorld(-4.0, 5.5, 6.0)
    points.UnsetNthControlPointPosition(1)
    workflow.wait(workflow.run_model("hippocampus", points=points), 10)
    sent = json.loads(form_parts(clinic.server.requests("POST", "/infer/hippocampus")[0])["params"])
    assert sent["points"] == [[1.0, 2.0, 3.0]]


def test_points_on_a_moved_study_are_moved_back(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    """The server knows the study where it was; the clinician points at it where it is now."""
    volume = workflow.wait(workflow.next_sample(), 10)
    add_transform(scene, volume, rigid())
    points = scene.add("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPointWorld(*(rigid() @ [1.0, 2.0, 3.0, 1.0])[:3])
    outcome = workflow.wait(workflow.run_model("hippocampus", points=points), 10)
    sent = json.loads(form_parts(clinic.server.requests("POST", "/infer/hippocampus")[0])["params"])
    assert np.allclose(sent["points"], [[1.0, 2.0, 3.0]])
    workflow.wait(workflow.submit("hippocampus"), 10)
    assert np.array_equal(sitk.GetArrayFromImage(submitted(clinic)), labels())
    assert scene.node(outcome.segmentation_id)


def test_roi_option(scene: Scene) -> None:
    roi = scene.add("vtkMRMLMarkupsROINode", "roi")
    with pytest.raises(errors.SceneProblem, match="not been placed"):
        roi_option(roi)
    roi.SetCenter(10, 20, 30)
    roi.SetSize(4, 6, 8)
    option = roi_option(roi)
    assert np.allclose(option["center"], [10, 20, 30]) and np.allclose(option["size"], [4, 6, 8])
    turn = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    add_transform(scene, roi, turn)
    option = roi_option(roi)
    assert np.allclose(option["center"], [-20, 10, 30]) and np.allclose(option["size"], [6, 4, 8])


def test_points_under_a_transform(scene: Scene) -> None:
    points = scene.add("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPoint(1, 2, 3)
    add_transform(scene, points, rigid())
    assert np.allclose(points_option(points), [(rigid() @ [1, 2, 3, 1])[:3]])


def test_one_job_at_a_time(workflow: Workflow, clinic: Clinic) -> None:
    clinic.server.on("POST", "/infer/hippocampus", Exchange.hang)
    workflow.wait(workflow.next_sample(), 10)
    running = workflow.run_model("hippocampus")
    second = workflow.next_sample()
    with pytest.raises(errors.Busy, match="Running the model"):
        workflow.wait(second, 10)
    assert workflow.state.job is running
    workflow.cancel()
    with pytest.raises(errors.Cancelled):
        workflow.wait(running, 2)
    assert workflow.state.message.text == "Cancelled." and workflow.state.job is None


def test_a_result_that_comes_with_the_cancel_is_dropped(workflow: Workflow, scene: Scene) -> None:
    workflow.wait(workflow.next_sample(), 10)
    job = workflow.run_model("hippocampus")
    time.sleep(0.5)
    workflow.cancel()
    with pytest.raises(errors.Cancelled):
        workflow.wait(job, 5)
    assert not scene.nodes("vtkMRMLSegmentationNode") and not workflow.undo_last()
    assert not list(workflow.folder.glob("*.nii*")), "the dropped result is not left on the disk"


def test_a_volume_removed_meanwhile(workflow: Workflow, scene: Scene) -> None:
    volume = workflow.wait(workflow.next_sample(), 10)
    job = workflow.run_model("hippocampus")
    scene.remove(volume)
    fails(workflow, job, errors.SceneProblem, "removed meanwhile")
    fails(workflow, workflow.run_model("hippocampus"), errors.SceneProblem, "No volume")


def test_a_segmentation_removed_meanwhile(workflow: Workflow, scene: Scene) -> None:
    """The result goes to a new one; it must not vanish in a node that is not in the scene any more."""
    workflow.wait(workflow.next_sample(), 10)
    first = workflow.wait(workflow.run_model("hippocampus"), 10)
    job = workflow.run_model("hippocampus")
    scene.remove(scene.node(first.segmentation_id))
    second = workflow.wait(job, 10)
    assert names(scene.node(second.segmentation_id)) == ["anterior", "posterior"]
    assert workflow.state.study.segmentation_id == second.segmentation_id


def test_what_came_of_a_run_is_said_in_words(workflow: Workflow, clinic: Clinic) -> None:
    workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert workflow.state.message.text.startswith("Hippocampus: 2 segments in ")
    clinic.result = labels((3, 3))
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert workflow.state.message.text.startswith("Hippocampus: 1 segment in ")
    clinic.result = 0 * labels()
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert workflow.state.message.text.startswith("Hippocampus: nothing found in ")
    assert workflow.state.message.kind == "warning"


def test_buttons_are_alive_after_a_failure(workflow: Workflow, clinic: Clinic) -> None:
    workflow.wait(workflow.next_sample(), 10)
    contract = {"error": {"code": "needs_region", "message": "Whole head.", "hint": "Place a point.", "id": "77"}}
    route = clinic.server.routes[("POST", "/infer/hippocampus")]
    clinic.server.reply("POST", "/infer/hippocampus", contract, status=422)
    fails(workflow, workflow.run_model("hippocampus"), errors.CannotProcess)
    assert workflow.state.message.text == "Whole head. (reference 77)"
    clinic.server.on("POST", "/infer/hippocampus", route)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert workflow.state.message.kind == "success"


def test_no_files_stay_behind(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    workflow.wait(workflow.run_model("hippocampus", add_volume(scene, clinic.matrix)), 10)
    workflow.wait(workflow.submit("hippocampus", volume=scalar_volumes(scene)[0]), 10)
    assert [path for path in workflow.folder.rglob("*") if path.is_file()] == []
    workflow.wait(workflow.next_sample(), 10)
    assert {path.parent.name for path in workflow.folder.rglob("*") if path.is_file()} == {"studies"}, "the cache alone"
    folder = workflow.folder
    workflow.close()
    assert not folder.exists()


def test_image_results_are_marked_and_undone(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    model = {**MODEL, "medgan": {**MODEL["medgan"], "output": "volume", "task": "synthesis"}}
    clinic.server.reply("GET", "/info/", {**INFO, "models": {"mr2ct": model}})
    workflow.wait(workflow.connect(), 10)
    clinic.server.reply("POST", "/infer/mr2ct", multipart({"version": "v1"}, clinic.study, "ct.nii.gz"), kind=MULTIPART)
    workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("mr2ct"), 10)
    result = scene.node(outcome.volume_ids[0])
    assert is_synthetic(result) and "mr2ct v1" in result.GetName()
    assert workflow.undo_last()
    assert len(scalar_volumes(scene)) == 1


def test_changed_voxels_are_not_taken_for_the_server_s(workflow: Workflow, clinic: Clinic, user: Asked) -> None:
    """A filter in place, or a clone of the node: the server must get what is on screen, after consent."""
    volume = workflow.wait(workflow.next_sample(), 10)
    voxels(volume)[0, 0, 0] += 1
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert len(user.requests) == len(clinic.sent_volumes()) == 1
    assert known_id(volume, clinic.server.url) == ""


def test_a_closed_scene_is_forgotten(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    """Slicer gives the same IDs again in the next scene; they must not be mistaken for the old nodes."""
    workflow.wait(workflow.use_volume(add_volume(scene, clinic.matrix)), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    workflow.wait(workflow.submit("hippocampus"), 10)
    scene.mrml.Clear(0)
    assert workflow.state.study is None and not workflow.state.can_undo and not workflow.undo_last()
    fails(workflow, workflow.run_model("hippocampus"), errors.SceneProblem, "No volume")
    workflow.wait(workflow.use_volume(add_volume(scene, clinic.matrix)), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    workflow.wait(workflow.submit("hippocampus"), 10)
    first, second = clinic.server.requests("PUT", "/datastore/image")
    assert first.query != second.query


def test_run_on_a_stock_server(server: FakeServer, scene: Scene, clinic: Clinic) -> None:
    """Its answer names no labels: the model's description does."""
    stock = {**STOCK_INFO, "models": {"spleen": {"type": "segmentation", "labels": {"spleen": 3, "liver": 7}}}}
    server.reply("GET", "/info/", stock)
    server.routes[("POST", "/activelearning/random")] = server.routes[("POST", "/activelearning/first")]
    server.routes[("POST", "/infer/spleen")] = server.routes[("POST", "/infer/hippocampus")]
    clinic.answer = {}
    workflow = Workflow(scene=scene)
    workflow.wait(workflow.connect(server.url), 10)
    workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("spleen"), 10)
    assert names(scene.node(outcome.segmentation_id)) == ["spleen", "liver"]
    workflow.close()

"""Submitting, training and versions, against a fake server."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from MedGANLib import errors
from MedGANLib.scene import Scene
from MedGANLib.volumes import known_id
from MedGANLib.workflow import Workflow

from .clinic import Asked, Clinic, fails, submitted, until
from .fake_server import Exchange, FakeServer
from .scenes import (
    GRIDS,
    add_volume,
    labels,
    ras_affine,
)

# Submitting


@pytest.mark.parametrize("name", GRIDS)
def test_submit_gives_the_server_its_own_grid(
    server: FakeServer, scene: Scene, tmp_path: Path, user: Asked, name: str
) -> None:
    """Also for left-handed files, whose slices Slicer reverses while it reads."""
    clinic = Clinic(server, tmp_path, GRIDS[name])
    workflow = Workflow(scene=scene, consent=user)
    workflow.wait(workflow.connect(server.url), 10)
    workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    receipt = workflow.wait(workflow.submit("hippocampus"), 10)
    image = submitted(clinic)
    assert np.allclose(ras_affine(image), clinic.matrix, atol=1e-4)
    assert np.array_equal(sitk.GetArrayFromImage(image), labels())
    assert receipt.image == "case_1" and user.requests == []
    count = int((labels() == 7).sum())
    assert f"posterior {count:,}" in workflow.state.message.text and workflow.state.message.hint
    workflow.close()


def test_submit_of_a_local_volume_adds_it_first(workflow: Workflow, scene: Scene, clinic: Clinic, user: Asked) -> None:
    volume = add_volume(scene, clinic.matrix, "Smith^John")
    workflow.wait(workflow.use_volume(volume), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    workflow.wait(workflow.submit("hippocampus"), 10)
    image_id = known_id(volume, clinic.server.url)
    assert [request.stored for request in user.requests] == [False, True], "keeping is more than running"
    assert clinic.server.requests("PUT", "/datastore/image")[0].query == {"image": image_id}
    assert image_id.startswith("study-") and workflow.state.study.image_id == image_id
    workflow.wait(workflow.submit("hippocampus"), 10)
    assert len(clinic.server.requests("PUT", "/datastore/image")) == 1


def test_a_submit_that_broke_after_the_upload_can_be_repeated(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    workflow.wait(workflow.use_volume(add_volume(scene, clinic.matrix)), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    route = clinic.server.routes[("PUT", "/datastore/label")]
    clinic.server.on("PUT", "/datastore/label", Exchange.drop)
    fails(workflow, workflow.submit("hippocampus"), errors.Disconnected)
    clinic.server.on("PUT", "/datastore/label", route)
    conflict = {"error": {"code": "conflict", "message": "Taken.", "hint": "", "id": "1"}}
    clinic.server.reply("PUT", "/datastore/image", conflict, status=409)
    workflow.wait(workflow.submit("hippocampus"), 10)
    uploads = clinic.server.requests("PUT", "/datastore/image")
    assert uploads[0].query == uploads[1].query
    assert clinic.server.requests("PUT", "/datastore/label")[-1].query["image"] == uploads[0].query["image"]


def test_a_label_is_not_sent_without_consent_to_keep_the_volume(
    workflow: Workflow, scene: Scene, clinic: Clinic, user: Asked
) -> None:
    workflow.wait(workflow.use_volume(add_volume(scene, clinic.matrix)), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    user.answer = False
    fails(workflow, workflow.submit("hippocampus"), errors.ConsentDeclined, said="info")
    assert not clinic.server.requests("PUT", "/datastore/image") + clinic.server.requests("PUT", "/datastore/label")
    assert [path for path in workflow.folder.rglob("*") if path.is_file()] == []


def test_submit_warns(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    clinic.result = labels((3, 3))
    workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    workflow.wait(workflow.submit("hippocampus"), 10)
    assert workflow.state.message.kind == "warning" and "posterior" in workflow.state.message.details[0]


def test_submit_without_a_segmentation(workflow: Workflow) -> None:
    workflow.wait(workflow.next_sample(), 10)
    fails(workflow, workflow.submit("hippocampus"), errors.SceneProblem, "no segmentation")


def test_upload_study(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    volume = add_volume(scene, clinic.matrix)
    workflow.wait(workflow.use_volume(volume), 10)
    assert workflow.wait(workflow.upload_study("ward-7"), 10) == "ward-7"
    assert workflow.state.study.image_id == known_id(volume, clinic.server.url) == "ward-7"


# Training and versions

RUNNING = {"state": "training", "epoch": 1, "epochs": 2, "loss": [[1, 0.6]], "metric": [[0, 0.7]]}
VERDICT = {"promoted": True, "version": "v0002", "serving": "v0002", "reason": "Dice 0.78 -> 0.84", "checks": []}
VERSIONS = {"model": "hippocampus", "current": "v0002", "versions": [{"version": "v0001"}, {"version": "v0002"}]}


def test_training_from_start_to_verdict(workflow: Workflow, clinic: Clinic) -> None:
    clinic.server.reply("GET", "/models/hippocampus/versions", VERSIONS)
    workflow.wait(workflow.versions("hippocampus"), 10)
    clinic.training = [RUNNING, {"state": "promoted", "verdict": VERDICT}]
    workflow.wait(workflow.start_training("hippocampus", {"max_epochs": 2}), 10)
    assert workflow.state.training.running
    job = workflow.follow_training()
    assert workflow.follow_training() is None, "one question at a time"
    assert workflow.wait(job, 10).loss == ((1, 0.6),)
    asked = len(clinic.server.requests("GET", "/info/"))
    status = workflow.wait_for_training(20)
    assert status.verdict is not None and status.verdict.promoted
    assert workflow.state.message.kind == "success" and workflow.state.message.hint == "Dice 0.78 -> 0.84"
    until(workflow, lambda: len(clinic.server.requests("GET", "/info/")) > asked)
    until(workflow, lambda: len(clinic.server.requests("GET", "/models/hippocampus/versions")) == 2)


def test_news_older_than_the_start_do_not_count(workflow: Workflow, clinic: Clinic) -> None:
    started = threading.Event()

    def slowly(exchange: Exchange) -> None:
        started.wait(10)
        exchange.answer(200, {"medgan": {"state": "promoted"}})

    clinic.server.on("GET", "/train/", slowly)
    old = workflow.follow_training()
    workflow.wait(workflow.start_training("hippocampus"), 10)
    started.set()
    until(workflow, lambda: old.finished)
    assert workflow.state.training.state == "starting"


def test_polling_survives_a_lost_connection(workflow: Workflow, clinic: Clinic) -> None:
    clinic.training = [RUNNING]
    workflow.wait(workflow.start_training("hippocampus"), 10)
    route = clinic.server.routes[("GET", "/train/")]
    clinic.server.on("GET", "/train/", Exchange.drop)
    with pytest.raises(errors.Disconnected):
        workflow.wait(workflow.follow_training(), 10)
    clinic.server.on("GET", "/train/", route)
    assert workflow.wait(workflow.follow_training(), 10).running


@pytest.mark.parametrize(("state", "kind"), [("refused", "warning"), ("failed", "error"), ("cancelled", "info")])
def test_how_training_can_end(workflow: Workflow, clinic: Clinic, state: str, kind: str) -> None:
    clinic.training = [RUNNING, {"state": state, "error": "Out of memory." if state == "failed" else None}]
    workflow.wait(workflow.start_training("hippocampus"), 10)
    workflow.wait(workflow.follow_training(), 10)
    workflow.wait(workflow.stop_training(), 10)
    assert workflow.state.message.kind == kind
    assert ("serving version stays" in workflow.state.message.text) == (state != "refused")
    assert workflow.state.training.state == state


def test_a_training_run_that_goes_on_already_is_found(clinic: Clinic, scene: Scene) -> None:
    clinic.training = [RUNNING]
    workflow = Workflow(scene=scene)
    workflow.wait(workflow.connect(clinic.server.url), 10)
    until(workflow, lambda: workflow.state.training.running)
    assert workflow.state.message.kind == "success", "news about the training do not hide that of the connection"
    workflow.close()


def test_training_beside_a_run(workflow: Workflow, clinic: Clinic) -> None:
    """Progress of the training is asked for while a model runs."""
    clinic.training = [RUNNING]
    workflow.wait(workflow.next_sample(), 10)
    clinic.server.on("POST", "/infer/hippocampus", Exchange.hang)
    job = workflow.run_model("hippocampus")
    assert workflow.wait(workflow.follow_training(), 10).running
    assert workflow.state.job is job
    workflow.cancel()


def test_roll_back(workflow: Workflow, clinic: Clinic) -> None:
    clinic.server.reply("PUT", "/models/hippocampus/current", {})
    clinic.server.reply("GET", "/models/hippocampus/versions", {**VERSIONS, "current": "v0001"})
    versions = workflow.wait(workflow.roll_back("hippocampus", "v0001"), 10)
    assert versions.current == "v0001" and workflow.state.versions["hippocampus"] == versions
    assert workflow.state.message.text == "v0001 serves from the next run on."


def test_a_server_that_is_away_while_it_trains_is_told_of_once(workflow: Workflow, clinic: Clinic) -> None:
    clinic.training = [RUNNING]
    workflow.wait(workflow.start_training("hippocampus"), 10)
    told: list[str] = []
    workflow.changed.connect(lambda state: told.append(state.message.text))
    train = clinic.server.routes[("GET", "/train/")]
    clinic.server.on("GET", "/train/", Exchange.drop)
    for number in range(3):
        with pytest.raises(errors.Disconnected):
            workflow.wait(workflow.follow_training(), 10)
        if not number:
            assert workflow.state.message.kind == "error"
            told.clear()
    assert told == [], "what else is said can be read"
    clinic.server.on("GET", "/train/", train)
    assert workflow.wait(workflow.follow_training(), 10).epoch == 1
    clinic.server.on("GET", "/train/", Exchange.drop)
    told.clear()
    with pytest.raises(errors.Disconnected):
        workflow.wait(workflow.follow_training(), 10)
    assert told, "that it is away again is news"

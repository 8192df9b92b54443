"""One server after the other: what belongs to the first is not taken for the second's."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from MedGANLib.errors import TimedOut
from MedGANLib.scene import Scene
from MedGANLib.session import Session
from MedGANLib.workflow import Workflow

from .clinic import Clinic, until
from .fake_server import INFO, Exchange, FakeServer, running

MODEL = "hippocampus"
FIRST = {"model": MODEL, "current": "v0009", "versions": [{"version": "v0009"}]}
RUNNING = {"state": "training", "epoch": 1, "epochs": 2}


@pytest.fixture
def other() -> Iterator[FakeServer]:
    """A second server with a model of the same name."""
    with running(FakeServer()) as fake:
        fake.reply("GET", "/info/", INFO)
        yield fake


def test_versions_training_and_ids_are_forgotten(workflow: Workflow, clinic: Clinic, other: FakeServer) -> None:
    clinic.server.reply("GET", f"/models/{MODEL}/versions", FIRST)
    clinic.training = [RUNNING]
    workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.versions(MODEL), 10)
    workflow.wait(workflow.follow_training(), 10)
    assert workflow.state.versions and workflow.state.training.running and workflow.state.study.image_id == "case_1"
    workflow.wait(workflow.connect(other.url), 10)
    assert workflow.state.versions == {} and workflow.state.training.state == "none"
    assert workflow.state.study.image_id == "", "the second server does not know the first one's study"
    workflow.wait(workflow.connect(clinic.server.url), 10)
    assert workflow.state.study.image_id == "case_1"


def test_the_same_server_again_forgets_nothing(workflow: Workflow, clinic: Clinic) -> None:
    clinic.server.reply("GET", f"/models/{MODEL}/versions", FIRST)
    workflow.wait(workflow.versions(MODEL), 10)
    workflow.wait(workflow.connect(clinic.server.url), 10)
    assert workflow.state.versions[MODEL].current == "v0009"


@pytest.mark.parametrize("good", [True, False], ids=["answer", "failure"])
def test_what_comes_late_from_the_first_is_not_listened_to(
    workflow: Workflow, clinic: Clinic, other: FakeServer, good: bool
) -> None:
    gate = threading.Event()

    def slowly(exchange: Exchange) -> None:
        gate.wait(10)
        exchange.answer(200 if good else 500, {"medgan": RUNNING} if good else {})

    clinic.server.on("GET", "/train/", slowly)
    clinic.training = [RUNNING]
    workflow.state.training = workflow.state.training.from_json({"medgan": RUNNING})
    late = workflow.follow_training()
    workflow.wait(workflow.connect(other.url), 10)
    until(workflow, lambda: bool(other.requests("GET", "/train/")))  # the second one is asked all the same
    gate.set()
    until(workflow, lambda: late.finished)
    assert workflow.state.training.state == "none" and workflow.state.message.kind == "success"


def test_the_time_out_is_the_user_s(scene: Scene, server: FakeServer) -> None:
    workflow = Workflow(scene=scene)
    assert workflow.wait(workflow.connect(server.url, timeout=0.3), 10).ok
    server.on("GET", f"/models/{MODEL}/versions", Exchange.hang)
    with pytest.raises(TimedOut) as caught:
        workflow.wait(workflow.versions(MODEL), 3)
    assert caught.value.hint == workflow.state.message.hint != ""
    workflow.close()


def test_files_in_transit_go_with_a_session_that_nobody_closed() -> None:
    session = Session()
    folder = session.folder
    (folder / "volume.nrrd").write_bytes(b"x")
    del session
    gc.collect()
    assert not folder.exists()


def test_a_folder_that_was_given_stays(tmp_path: Path) -> None:
    session = Session(work_dir=str(tmp_path))
    session.close()
    assert tmp_path.is_dir()

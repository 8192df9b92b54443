"""Leaving a server that does not answer: another one is connected to at once, and nothing is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from MedGANLib import errors
from MedGANLib.jobs import Job, JobQueue, Tidy
from MedGANLib.scene import Scene
from MedGANLib.volumes import scalar_volumes
from MedGANLib.workflow import Workflow

from .clinic import Asked, Clinic, until
from .fake_server import INFO, Exchange, FakeServer, running
from .scenes import GRIDS, add_volume

MODEL = "hippocampus"
SOON = 2.0
"""Seconds within which another server has to be connected to."""


@pytest.fixture
def other() -> Iterator[FakeServer]:
    with running(FakeServer()) as fake:
        fake.reply("GET", "/info/", INFO)
        yield fake


def occupy(workflow: Workflow, server: FakeServer) -> list[Job]:
    """Asks a server that has fallen silent more than there are workers."""
    waiting: list[Exchange] = []  # for an answer; one may be of a question that connecting has asked

    def silent(exchange: Exchange) -> None:
        waiting.append(exchange)
        exchange.hang()

    for path in (f"/models/{MODEL}/versions", "/train/", "/serving", "/train/runs"):
        server.on("GET", path, silent)
    asked = [workflow.versions(MODEL) for _ in range(4)]
    until(workflow, lambda: len(waiting) == 3)
    return asked


def files(workflow: Workflow) -> list[Path]:
    return [path for path in workflow.folder.iterdir() if path.is_file()]


def test_another_server_is_connected_to_while_all_workers_wait(
    workflow: Workflow, clinic: Clinic, other: FakeServer
) -> None:
    asked = occupy(workflow, clinic.server)
    begun = time.monotonic()
    assert workflow.wait(workflow.connect(other.url), 10).ok
    assert time.monotonic() - begun < SOON
    until(workflow, lambda: all(job.state == "cancelled" for job in asked))
    assert workflow.state.address == other.url and workflow.state.message.kind == "success"
    workflow.wait(workflow.follow_training() or workflow._follow, 10)  # the workers are free again


def test_another_server_is_connected_to_while_one_is_tried(scene: Scene, other: FakeServer) -> None:
    with running(FakeServer()) as silent:
        silent.on("GET", "/info/", Exchange.hang)
        workflow = Workflow(scene=scene)
        first = workflow.connect(silent.url)
        until(workflow, lambda: bool(silent.requests("GET", "/info/")))
        second = workflow.connect(other.url)
        assert workflow.wait(second, SOON).ok
        until(workflow, lambda: first.finished)
        assert first.state == "cancelled" and workflow.state.address == other.url
        assert workflow.state.job is None and workflow.state.message.kind == "success"
        workflow.close()


def test_a_run_is_cancelled_and_the_study_is_not_taken_for_the_second_server_s(
    workflow: Workflow, scene: Scene, clinic: Clinic, other: FakeServer
) -> None:
    clinic.server.on("POST", f"/infer/{MODEL}", Exchange.hang)
    workflow.wait(workflow.use_volume(add_volume(scene, GRIDS["upright"])), 10)
    run = workflow.run_model(MODEL)
    until(workflow, lambda: bool(clinic.server.requests("POST", f"/infer/{MODEL}")))
    assert workflow.wait(workflow.connect(other.url), SOON).ok
    until(workflow, lambda: run.finished)
    assert run.state == "cancelled" and workflow.state.job is None and not files(workflow)
    assert workflow.state.study is not None and workflow.state.study.image_id == ""


def test_what_comes_through_in_spite_of_the_change_is_let_go_of(
    workflow: Workflow, clinic: Clinic, other: FakeServer
) -> None:
    workflow.wait(workflow.next_sample(), 10)
    run = workflow.run_model(MODEL)
    workflow._jobs._own[-1].join(5)  # the result is there, but was not delivered
    assert files(workflow)
    assert workflow.wait(workflow.connect(other.url), SOON).ok
    until(workflow, lambda: run.finished)
    assert run.state == "cancelled" and not workflow.state.can_undo and not files(workflow)


def test_a_volume_is_chosen_while_all_workers_wait(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    occupy(workflow, clinic.server)
    volume = add_volume(scene, GRIDS["upright"])
    assert workflow.wait(workflow.use_volume(volume), SOON).volume_id == volume.GetID()
    assert workflow.wait(workflow.next_sample(), SOON) in scalar_volumes(scene)


def test_a_job_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    jobs, gate = JobQueue(1), threading.Event()
    busy = jobs.submit(lambda job: gate.wait(20))
    outer, inner = tmp_path / "label.nrrd", tmp_path / "volume.nrrd"
    for file in (outer, inner):
        file.write_bytes(b"voxels")
    job = jobs.submit(Tidy([outer], Tidy([inner, None], lambda job: None)))
    job.cancel()
    with pytest.raises(errors.Cancelled):
        jobs.wait(job, 1)
    assert not outer.exists() and not inner.exists()
    gate.set()
    jobs.wait(busy, 5)
    jobs.close()


def test_a_workflow_that_is_closed_before_a_job_began_leaves_no_file(
    scene: Scene, clinic: Clinic, user: Asked, tmp_path: Path
) -> None:
    workflow = Workflow(scene=scene, consent=user, work_dir=str(tmp_path / "transit"))
    workflow.wait(workflow.connect(clinic.server.url), 10)
    workflow.wait(workflow.use_volume(add_volume(scene, GRIDS["upright"])), 10)
    workflow._jobs._start_own = lambda job: None  # type: ignore[method-assign]
    workflow.run_model(MODEL)
    assert files(workflow)
    workflow.close()
    assert not files(workflow)

"""Training that begins by itself after some new labels, and what clients who ask again and again are told."""

from __future__ import annotations

import dataclasses
import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import MODEL, SHAPES, client_of, crop, error, truth
from test_training_queue import Machine

from monailabel_app.config import ServerConfig
from monailabel_app.finetune.queue import TrainingQueue
from monailabel_app.finetune.runs import Run
from monailabel_app.synthetic import Mark
from trainers.data.volumes import Volume, write_volume

STUDIES = 6


class Clinic:
    """A server that trains nothing, with studies that can be labelled."""

    def __init__(self, folder: Path, models: Path, auto_train: int) -> None:
        self.folder = folder
        self.config = ServerConfig(folder / "studies", folder / "data", models=models, auto_train=auto_train)
        for number in range(STUDIES):
            image = crop(number)
            write_volume(self.config.studies / f"study_{number}.nii.gz", image)
            write_volume(folder / f"label_{number}.nii.gz", truth(image))
        self.open()

    def open(self) -> None:
        """A server; called again, another one on the same disk."""
        self.client: TestClient = client_of(self.config)
        state: Any = self.client.app
        self.machine = Machine()
        self.queue = TrainingQueue(self.config.runs, self.machine, state.state.services.registry)
        self.queue.open()
        self.queue._stopping.set()
        state.state.services = dataclasses.replace(state.state.services, training=self.queue)

    def submit(self, number: int, tag: str = "final", **params: Any) -> dict[str, Any]:
        with (self.folder / f"label_{number}.nii.gz").open("rb") as stream:
            answer = self.client.put(
                "/datastore/label",
                params={"image": f"study_{number}", "tag": tag},
                data={"params": json.dumps(params)},
                files={"label": ("label.nii.gz", stream)},
            )
        assert answer.status_code == 200, answer.text
        return answer.json()["medgan"]

    def serving(self) -> dict[str, Any]:
        return self.client.get("/serving").json()

    def end(self, run: str) -> None:
        Run(self.config.runs / run, MODEL).end("refused")
        self.machine.kill()
        self.queue.dispatch()

    def add_synthetic(self, number: int) -> None:
        array, affine = crop(number).array, crop(number).affine
        path = self.config.studies / f"study_{number}.nrrd"
        write_volume(path, Volume(np.asarray(array), affine), metadata=Mark(SHAPES, "v0001", 1).header())
        write_volume(self.folder / f"label_{number}.nii.gz", truth(crop(number)))


@pytest.fixture
def clinic(tmp_path: Path, models: Path) -> Clinic:
    return Clinic(tmp_path, models, auto_train=3)


def test_the_last_of_so_many_labels_starts_a_run(clinic: Clinic) -> None:
    assert [clinic.submit(n, model=MODEL)["training"] for n in (0, 1, 1, 0)] == [None] * 4, "studies count, not changes"
    assert clinic.serving()["submitted_since"] == {MODEL: 2}
    run = clinic.submit(2)["training"]
    assert (run["model"], run["state"], run["reason"], run["author"]) == (MODEL, "starting", "3 new labels", "")
    told = clinic.serving()
    assert told["training"] == {"model": MODEL, "run": run["run"], "state": "starting", "eta_seconds": None}
    assert (told["auto_train"], told["submitted_since"]) == (3, {MODEL: 0})
    assert [clinic.submit(n)["training"] for n in (3, 4)] == [None, None]
    clinic.open()
    assert clinic.serving()["submitted_since"] == {MODEL: 2}, "a new server counts the same"
    waiting = clinic.submit(0)["training"]
    assert (waiting["state"], waiting["position"]) == ("queued", 1), "the one that was cut off goes first"
    assert clinic.submit(1)["training"] is None, "it waits already"
    assert clinic.serving()["submitted_since"] == {MODEL: 4}
    clinic.end(run["run"])
    assert clinic.machine.now == waiting["run"]
    assert clinic.serving()["submitted_since"] == {MODEL: 0}


def test_a_label_is_stored_though_no_run_can_be_asked_for(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*rest: Any, **more: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(clinic.queue, "add", full)
    assert [clinic.submit(n, model=MODEL)["training"] for n in range(3)] == [None] * 3
    assert clinic.serving()["submitted_since"] == {MODEL: 3}


def test_what_does_not_count(clinic: Clinic) -> None:
    clinic.add_synthetic(6)
    clinic.submit(0, tag="draft")
    clinic.submit(6, model=MODEL)
    write_volume(clinic.config.studies / "labels" / "final" / "study_5.nii.gz", truth(crop(5)))
    assert clinic.serving()["submitted_since"] == {MODEL: 0}
    clinic.submit(1)
    clinic.client.post("/datastore/label/undo", params={"label": "study_1", "tag": "final"})
    assert clinic.serving()["submitted_since"] == {MODEL: 0}, "it was taken back"
    clinic.submit(2, model=SHAPES)
    assert clinic.serving()["submitted_since"] == {MODEL: 0}, "it is another model's"
    clinic.submit(3)
    assert clinic.serving()["submitted_since"] == {MODEL: 1}
    assert clinic.machine.started == []


def test_undoing_a_correction_made_since_the_last_run_is_not_a_new_label(tmp_path: Path, models: Path) -> None:
    clinic = Clinic(tmp_path, models, auto_train=0)
    for number in range(3):
        assert clinic.submit(number)["training"] is None, "never by itself"
    run = clinic.client.post(f"/train/{MODEL}", json={"author": "Dr A"}).json()["medgan"]["run"]
    clinic.submit(0)
    assert clinic.serving()["submitted_since"] == {MODEL: 1}
    clinic.client.post("/datastore/label/undo", params={"label": "study_0", "tag": "final"})
    assert clinic.serving()["submitted_since"] == {MODEL: 0}
    assert clinic.queue.progress(run)["author"] == "Dr A"


def test_serving_tells_which_version_since_when_and_why(clinic: Clinic) -> None:
    told = clinic.serving()["models"]
    assert told[MODEL] == {"version": "v0001", "since": "", "reason": ""}
    clinic.client.put(f"/models/{MODEL}/current", json={"version": "v0001"})
    chosen = clinic.serving()["models"][MODEL]
    assert chosen["since"].endswith("Z") and "by hand" in chosen["reason"]
    (clinic.config.data / "models" / MODEL / "current").write_text("?")
    assert clinic.serving()["models"][MODEL]["version"] == ""


def test_one_run_is_asked_for_though_many_submit_at_once(clinic: Clinic) -> None:
    with ThreadPoolExecutor(STUDIES) as pool:
        runs = [told["training"] for told in pool.map(clinic.submit, range(STUDIES))]
    started = [run for run in runs if run]
    assert len(clinic.machine.started) == 1 and 1 <= len(started) <= 2
    assert {run["state"] for run in started} <= {"starting", "queued"}


def test_runs_are_listed_and_cancelled_by_name(clinic: Clinic) -> None:
    client = clinic.client
    assert error(client.get("/train/")) == (404, "no_training")
    assert client.get("/train/runs").json() == {"runs": []}
    for number in range(3):
        clinic.submit(number)
    first = client.get("/train/runs").json()["runs"][0]["run"]
    waiting = client.post(f"/train/{MODEL}", json={"client_id": "Dr B"}).json()
    run = waiting["medgan"]["run"]
    assert (waiting["id"], waiting["status"], waiting["medgan"]["position"]) == (run, "QUEUED", 1)
    assert (waiting["medgan"]["state"], waiting["medgan"]["author"]) == ("queued", "Dr B")
    assert error(client.post(f"/train/{MODEL}", json={})) == (409, "busy")
    assert error(client.post(f"/train/{MODEL}", json={"author": 7})) == (400, "bad_params")
    queue = client.get("/train/").json()["queue"]
    assert [(entry["run"], entry["model"], entry["position"], entry["author"]) for entry in queue] == [
        (run, MODEL, 1, "Dr B")
    ]
    assert queue[0]["requested"].endswith("Z")
    assert [p["run"] for p in client.get("/train/runs").json()["runs"]] == [run, first]
    assert [p["run"] for p in client.get("/train/runs", params={"limit": 1}).json()["runs"]] == [run]
    assert client.get(f"/train/runs/{run}").json()["position"] == 1
    assert client.delete(f"/train/runs/{run}").json()["state"] == "cancelled"
    assert error(client.delete(f"/train/runs/{run}")) == (409, "conflict")
    assert error(client.get("/train/runs/nothing")) == (404, "unknown_run")
    assert error(client.delete("/train/runs/nothing")) == (404, "unknown_run")
    assert client.delete(f"/train/runs/{first}").json()["state"] == "cancelled"
    assert clinic.machine.now is None

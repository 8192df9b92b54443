"""Labels in, a better version out: promote, roll back, refuse poison, cancel, die with the server."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import torch
from server_world import MODEL, Server, crop, error, make_studies, serving

from monailabel_app.finetune.runs import read_run
from trainers.data.volumes import Volume, read_label, read_volume, write_volume
from trainers.fit import CHECKPOINT_FILE

STUDIES = range(6)
LEARN = {"max_epochs": 6, "learning_rate": 0.01, "synthetic_ratio": 0.0}  # the GAN of this world draws noise
ENDED = {"promoted", "refused", "cancelled", "failed"}


def submit(http: httpx.Client, server: Server, folder: Path, poisoned: bool = False) -> None:
    for study in STUDIES:
        with server.label_file(study, folder, poisoned).open("rb") as stream:
            answer = http.put(
                "/datastore/label",
                params={"image": f"study_{study}", "tag": "final"},
                data={"params": f'{{"model": "{MODEL}"}}'},
                files={"label": ("label.nii.gz", stream)},
            )
        assert answer.status_code == 200, answer.text


def serve(http: httpx.Client, version: str) -> None:
    assert http.put(f"/models/{MODEL}/current", json={"version": version}).json()["current"] == version


def versions(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {v["version"]: v for v in http.get(f"/models/{MODEL}/versions").json()["versions"]}


def serving_version(http: httpx.Client) -> str:
    return http.post(f"/infer/{MODEL}", params={"image": "study_0", "output": "json"}).json()["version"]


def wait_for(http: httpx.Client, states: set[str], run: str = "") -> dict[str, Any]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        status = http.get("/train/").json()
        if status["medgan"]["state"] in states and run in ("", status["medgan"]["run"]):
            return status
        time.sleep(0.2)
    raise AssertionError(f"training never became {states}: {status}")


def train(http: httpx.Client, **params: object) -> dict[str, Any]:
    started = http.post(f"/train/{MODEL}", json={**LEARN, **params})
    assert started.status_code == 200, started.text
    return wait_for(http, ENDED, started.json()["medgan"]["run"])["medgan"]


def test_too_few_labels(http: httpx.Client) -> None:
    for study in http.get("/datastore/", params={"output": "train"}).json():
        http.delete("/datastore/label", params={"id": Path(study["image"]).name.split(".")[0], "tag": "final"})
    assert error(http.post(f"/train/{MODEL}", json={})) == (422, "too_few_labels")


def test_corrections_make_a_better_version_that_can_be_rolled_back(
    http: httpx.Client, server: Server, tmp_path: Path
) -> None:
    submit(http, server, tmp_path)
    serve(http, "v0001")
    before = versions(http)
    progress = train(http)
    assert progress["state"] == "promoted", progress
    verdict = progress["verdict"]
    made = verdict["version"]
    assert verdict["promoted"] and verdict["serving"] == made and made not in before
    check = verdict["checks"][0]
    assert (check["name"], check["metric"]) == ("validation", "dice_mean")
    assert check["after"] > check["before"] + 0.02
    assert f"{check['after']:.3f}" in verdict["reason"]
    assert {c["name"] for c in verdict["checks"]} == {"validation", "reference"}
    measured = [epoch for epoch, _ in progress["metric"]]
    assert measured == list(range(len(measured))) and 4 < len(measured) <= 7, "one an epoch, until it gets no better"
    assert progress["loss"][-1][1] < progress["loss"][0][1]
    assert (progress["cases"]["train"], progress["cases"]["validation"]) == (4, 2)
    assert "measured on 2 of your studies" in progress["promise"]
    assert serving_version(http) == made
    assert http.get("/info/").json()["models"][MODEL]["medgan"]["version"] == made
    entry = versions(http)[made]
    assert (entry["parent"], entry["state"], entry["origin"]) == ("v0001", "published", "finetuned")
    assert abs(entry["metrics"]["dice_mean"]["value"] - check["after"]) < 1e-3
    serve(http, "v0001")
    assert serving_version(http) == "v0001"


def test_poisoned_labels_are_refused_and_the_serving_version_untouched(
    http: httpx.Client, server: Server, tmp_path: Path
) -> None:
    """Even the validation labels are poisoned, so that validation improves: the reference cases tell."""
    serve(http, "v0001")
    split = (server.data / "splits" / f"{MODEL}.json").read_text(encoding="utf-8")
    weights = [p.read_bytes() for p in sorted(server.data.glob("models/*/v*/model.safetensors"))]
    submit(http, server, tmp_path, poisoned=True)
    progress = train(http)
    assert progress["state"] == "refused", progress
    checks = {c["name"]: c for c in progress["verdict"]["checks"] if c["metric"] == "dice_mean"}
    assert checks["validation"]["passed"] and not checks["reference"]["passed"]
    assert "reference" in progress["verdict"]["reason"]
    assert serving_version(http) == "v0001"
    refused = progress["verdict"]["version"]
    assert versions(http)[refused]["state"] == "refused"
    assert error(http.put(f"/models/{MODEL}/current", json={"version": refused})) == (409, "conflict")
    assert [p.read_bytes() for p in sorted(server.data.glob("models/*/v*/model.safetensors"))][
        : len(weights)
    ] == weights
    assert (server.data / "splits" / f"{MODEL}.json").read_text(encoding="utf-8") == split, "never drawn again"


def test_cancel_leaves_everything_as_it_was_and_lets_the_next_run_begin(
    http: httpx.Client, server: Server, tmp_path: Path
) -> None:
    submit(http, server, tmp_path)
    before = versions(http)
    first = http.post(f"/train/{MODEL}", json={"max_epochs": 1000, "patience": 1000}).json()["medgan"]["run"]
    waiting = http.post(f"/train/{MODEL}", json={"max_epochs": 1000, "patience": 1000, "author": "Dr B"}).json()
    assert (waiting["status"], waiting["medgan"]["state"], waiting["medgan"]["position"]) == ("QUEUED", "queued", 1)
    assert error(http.post(f"/train/{MODEL}", json={})) == (409, "busy")
    progress = wait_for(http, {"training"})["medgan"]
    assert progress["run"] == first and progress["epochs"] == 1000
    assert http.get("/train/", params={"check_if_running": True}).status_code == 200
    assert serving_version(http) == "v0001", "inference goes on beside training"
    assert http.get("/serving").json()["training"]["run"] == first
    child = training_process(server.process.pid)
    stopped = cancelled_in_time(http, "/train/")
    assert (stopped["status"], stopped["medgan"]["state"], stopped["medgan"]["run"]) == ("STOPPED", "cancelled", first)
    assert not psutil.pid_exists(child.pid)
    second = waiting["medgan"]["run"]
    wait_for(http, {"starting"}, second)
    assert cancelled_in_time(http, f"/train/runs/{second}")["state"] == "cancelled", "also while its process starts"
    assert versions(http) == before
    assert not list(server.data.glob("models/*/.staging-*")) and not list(server.data.glob("runs/*/work"))
    assert error(http.delete("/train/")) == (404, "no_training")


def cancelled_in_time(http: httpx.Client, path: str) -> dict[str, Any]:
    start = time.monotonic()
    answer = http.delete(path)
    took = time.monotonic() - start
    print(f"cancelled in {took:.2f} s")
    assert answer.status_code == 200 and took < 5, (answer.text, took)
    return answer.json()


def test_two_clinicians_label_train_and_go_on_at_the_same_time(
    http: httpx.Client, server: Server, tmp_path: Path
) -> None:
    more = [f"study_{number}" for number in range(20, 24)]  # others may be taken by clients of other tests
    for study in more:
        write_volume(tmp_path / f"{study}.nii.gz", crop(int(study.removeprefix("study_"))))
        with (tmp_path / f"{study}.nii.gz").open("rb") as stream:
            assert http.put("/datastore/image", params={"image": study}, files={"file": stream}).status_code == 200
    free = []
    for study, known in http.get("/datastore/", params={"output": "all"}).json()["objects"].items():
        http.delete("/datastore/label", params={"id": study, "tag": "final"})
        if not study.startswith("study_"):  # of other tests
            http.delete("/datastore/image", params={"id": study})
        elif not known["image"]["info"].get("strategy"):  # other tests let other clients reserve a study
            free.append(study)
    with ThreadPoolExecutor(2) as pool:
        days = [pool.submit(day_of, server, name, tmp_path / name) for name in ("Dr A", "Dr B")]
        labelled, answers = zip(*(day.result() for day in days), strict=True)
    assert len(free) > 4
    assert sorted([*labelled[0], *labelled[1]]) == sorted(free), "each study is one clinician's, and none is left"
    assert labelled[0] and labelled[1]
    for name, mine in zip(("Dr A", "Dr B"), labelled, strict=True):
        for study in mine:
            entries = http.get("/datastore/label/history", params={"label": study}).json()["entries"]
            assert (entries[-1]["author"], entries[-1]["current"]) == (name, True)
    assert sorted(answers) == [(200, "QUEUED"), (200, "RUNNING")]
    for run in http.get("/train/runs", params={"limit": 2}).json()["runs"]:
        cancelled_in_time(http, f"/train/runs/{run['run']}")
    for study in more:
        http.delete("/datastore/image", params={"id": study})


def day_of(server: Server, name: str, folder: Path) -> tuple[list[str], tuple[int, str]]:
    """Labels what is offered until nothing is left, and asks for training after the second study."""
    folder.mkdir()
    mine: list[str] = []
    answer = (0, "")
    with server.client() as http:
        while (offered := http.post("/activelearning/first", json={"client_id": name})).status_code == 200:
            study = offered.json()["id"]
            with server.label_file(int(study.removeprefix("study_")), folder).open("rb") as stream:
                stored = http.put(
                    "/datastore/label",
                    params={"image": study, "tag": "final"},
                    data={"params": json.dumps({"model": MODEL, "author": name})},
                    files={"label": ("label.nii.gz", stream)},
                )
            assert stored.status_code == 200, stored.text
            mine.append(study)
            if len(mine) == 2:
                asked = http.post(f"/train/{MODEL}", json={"max_epochs": 1000, "patience": 1000, "author": name})
                answer = (asked.status_code, asked.json().get("status", "").replace("SUBMITTED", "RUNNING"))
        assert error(offered) == (404, "nothing_to_label")
    return mine, answer


def test_scores_and_the_strategy_that_uses_them(http: httpx.Client) -> None:
    for study in STUDIES:
        http.delete("/datastore/label", params={"id": f"study_{study}", "tag": "final"})
    assert http.post("/scoring/uncertainty").status_code == 200
    wait_for_task(http, "/scoring/")
    objects = http.get("/datastore/", params={"output": "all"}).json()["objects"]
    scores = {name: o["image"]["info"]["medgan_scores"]["uncertainty"] for name, o in objects.items()}
    assert len(set(scores.values())) > 1 and min(scores.values()) > 0
    marks = {name: o["image"]["info"].get("strategy", {}).values() for name, o in objects.items()}
    mine = [name for name in scores if all(mark["client_id"] == "Dr A" for mark in marks[name])]
    answer = http.post("/activelearning/uncertainty", json={"client_id": "Dr A"}).json()
    assert answer["id"] == max(mine, key=lambda name: scores[name])
    assert answer["medgan"]["reason"].startswith("The model is least sure of it")


def test_batch_of_labels(http: httpx.Client, server: Server) -> None:
    """A study that the model refuses, the first of all, is left out."""
    tiny = server.studies / "a_tiny_one.nii.gz"
    write_volume(tiny, Volume(np.ones((8, 8, 8), np.float32), np.diag([1e-3, 1e-3, 1e-3, 1])))
    assert error(http.post(f"/batch/infer/{MODEL}", json={"label_tag": "final"})) == (400, "bad_option")
    assert (
        http.post(f"/batch/infer/{MODEL}", json={"device": "cuda", "test_time_augmentation": False}).status_code == 200
    )
    wait_for_task(http, "/batch/infer")
    for study in STUDIES:
        label = read_label(server.studies / "labels" / "original" / f"study_{study}.nii.gz", [1, 2])
        assert label.shape == read_volume(server.studies / f"study_{study}.nii.gz").shape
        assert np.unique(label.array).size == 3
    assert not (server.studies / "labels" / "original" / tiny.name).exists()
    tiny.unlink()


def wait_for_task(http: httpx.Client, path: str) -> None:
    end = time.monotonic() + 60
    while (status := http.get(path).json())["status"] in {"SUBMITTED", "RUNNING"}:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert status["status"] == "DONE", status


def training_process(server: int) -> psutil.Process:
    return next(p for p in psutil.Process(server).children(recursive=True) if "train" in p.cmdline())


@pytest.mark.timeout(240)
def test_training_ends_with_its_server_and_goes_on_with_the_next(models: Path, tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies", len(STUDIES))
    with serving(studies, models, tmp_path / "first.txt") as server, server.client() as http:
        submit(http, server, tmp_path)
        with ThreadPoolExecutor(3) as pool:
            asked = [
                pool.submit(http.post, f"/train/{MODEL}", json={"max_epochs": 1000, "patience": 1000}) for _ in range(3)
            ]
        assert sorted(answer.result().status_code for answer in asked) == [200, 200, 409]
        first = wait_for(http, {"training"})["medgan"]["run"]
        waiting = [entry["run"] for entry in http.get("/train/").json()["queue"]]
        assert len(waiting) == 1
        saved = checkpoint_of(server, first)
        child = training_process(server.process.pid)
        server.process.kill()
        child.wait(10)
    with serving(studies, models, tmp_path / "second.txt") as server, server.client() as http:
        assert http.get("/train/", params={"check_if_running": True}).json()["medgan"]["run"] == first
        again = wait_for(http, {"training"})["medgan"]
        assert (again["run"], again["resumed"]) == (first, 1)
        steps = steps_from_now_on(http)
        print(f"checkpoint at step {saved}, went on with {steps}")
        assert min(steps) >= saved, "the first ones may be what was last told before the end"
        assert [entry["run"] for entry in http.get("/train/").json()["queue"]] == waiting
        assert serving_version(http) == "v0001" and list(versions(http)) == ["v0001"]
        assert len(http.get("/datastore/", params={"output": "train"}).json()) == len(STUDIES)
        child = training_process(server.process.pid)
        http.close()
        with server.client() as follower, follower.stream("GET", "/train/events") as answer:
            events = answer.iter_lines()
            assert [next(events)[:6] for _ in range(3)] == ["data: ", "", "data: "]
            server.process.terminate()
            server.process.wait(10)
        assert not psutil.pid_exists(child.pid)
        states = [(read_run(server.data / "runs", run) or {})["state"] for run in (first, *waiting)]
        assert states == ["interrupted", "queued"]


def checkpoint_of(server: Server, run: str) -> int:
    """The step of a run's first checkpoint, when there is one."""
    path, end = server.data / "runs" / run / "work" / CHECKPOINT_FILE, time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.2)
    return int(torch.load(path, weights_only=True)["step"])


def steps_from_now_on(http: httpx.Client) -> list[int]:
    """The step, asked for again and again for some seconds."""
    seen = []
    for _ in range(20):
        seen.append(http.get("/train/").json()["medgan"]["step"])
        time.sleep(0.2)
    assert seen[-1] > seen[0]
    return seen

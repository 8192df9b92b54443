"""Anomaly detection over HTTP: heat and findings on the study's grid, verdicts, and a model at home."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import client_of, error, infer

from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune import anomaly as module
from monailabel_app.finetune.anomaly import AnomalyTraining, verdict_on
from monailabel_app.finetune.runs import new_run, read_run
from monailabel_app.registry import Registry
from tests.trainers.anomaly.world import AFFINE, picture, untrained, volume
from trainers.data.volumes import Volume, read_volume, same_grid, write_volume
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.adapt import Adapted
from trainers.tasks.anomaly.methods import MEDGAN

MODEL = "unusual"
SCREEN = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose networks have learned nothing, calibrated with 24 volumes. Not to be changed."""
    return untrained(tmp_path_factory.mktemp("models"))


@pytest.fixture
def config(models: Path, tmp_path: Path) -> ServerConfig:
    """Fourteen studies of another scanner, and two with a bright spot."""
    studies = tmp_path / "studies"
    studies.mkdir()
    for number in range(16):
        array = volume(300 + number)
        array += np.random.default_rng(number).normal(0, 60, array.shape).astype(np.float32)
        if number > 13:
            array[4:8, 6:10, 4:8] = 3000
        write_volume(studies / f"p{number}.nii.gz", Volume(array.astype(np.float32), AFFINE))
    return ServerConfig(studies, tmp_path / "data", models=models)


@pytest.fixture
def client(config: ServerConfig) -> TestClient:
    return client_of(config)


def test_info(client: TestClient) -> None:
    about = client.get("/info/").json()["models"][MODEL]["medgan"]
    assert (about["task"], about["output"], about["trainable"]) == ("anomaly", "both", True)
    assert about["options"]["properties"]["false_positives"]["default"] == 0.05
    assert about["options"]["properties"]["refine"]["type"] == "boolean"


def test_a_bundle_has_heat_findings_and_what_they_mean(
    client: TestClient, config: ServerConfig, tmp_path: Path
) -> None:
    answer = infer(client, MODEL, {"image": "p15", "output": "image"}, result_extension=".zip", false_positives=0.1)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [(p["name"], p["kind"]) for p in manifest["parts"]] == [("label", "labelmap"), ("heatmap", "volume")]
    heat, label = (read_volume(tmp_path / "out" / f"{name}.nrrd") for name in ("heatmap", "label"))
    assert same_grid(heat, read_volume(config.studies / "p15.nii.gz")) and same_grid(heat, label)
    found = manifest["anomaly"]
    assert np.array_equal(label.array > 0, heat.array >= found["threshold"]) and heat.array.dtype == np.float32
    assert found["healthy"] == 24 and found["peaks"] == sorted(found["peaks"]) and found["false_positives"] == 0.1
    assert found["chance"] == pytest.approx(1 / 25) and found["one_in"] == 25
    assert sum(f["voxels"] for f in found["findings"]) == np.count_nonzero(label.array)
    assert found["findings"][0]["peak"] == pytest.approx(float(heat.array.max()), abs=1e-3)


def test_a_rate_that_cannot_be_promised_is_raised_and_said(client: TestClient) -> None:
    answer = infer(client, MODEL, {"image": "p0", "output": "json"}, false_positives=0.001)
    assert answer.status_code == 200, answer.text
    assert "24 healthy patients cannot promise" in answer.text
    assert error(infer(client, MODEL, {"image": "p0"}, false_positives=2)) == (400, "bad_option")


def mark(client: TestClient, study: str, verdict: str, model: str = MODEL) -> Any:
    return client.post(f"/verdict/{model}", params={"image": study}, json={"verdict": verdict})


def test_verdicts_are_kept_changed_and_taken_back(client: TestClient, config: ServerConfig) -> None:
    assert mark(client, "p0", "normal").json() == {"image": "p0", "verdict": "normal", "normal": 1, "abnormal": 0}
    assert mark(client, "p1", "abnormal").json()["abnormal"] == 1
    assert mark(client, "p0", "abnormal").json() == {"image": "p0", "verdict": "abnormal", "normal": 0, "abnormal": 2}
    assert mark(client, "p0", "").json()["abnormal"] == 1
    again = client_of(config).get(f"/verdict/{MODEL}").json()
    assert again == {"normal": 0, "abnormal": 1, "studies": {"p1": "abnormal"}}


def test_verdicts_that_make_no_sense_are_refused(client: TestClient) -> None:
    assert error(mark(client, "p0", "perhaps"))[0] == 400
    assert error(mark(client, "nobody", "normal")) == (404, "unknown_image")
    assert error(mark(client, "p0", "normal", "nothing")) == (404, "unknown_model")


def test_training_needs_ten_normal_patients(client: TestClient) -> None:
    for number in range(9):
        mark(client, f"p{number}", "normal")
    answer = client.post(f"/train/{MODEL}")
    assert error(answer) == (422, "too_few_labels") and "9 patients are marked as normal" in answer.text


def test_a_run_makes_a_version_that_keeps_its_promise_here(config: ServerConfig) -> None:
    client = client_of(config)
    for number in range(16):
        mark(client, f"p{number}", "normal" if number < 14 else "abnormal")
    config.prepare()
    registry = Registry(config.models, config.data / "models")
    task, store = AnomalyTraining(MODEL, config, registry), StudyDatastore(config.studies, config.data / "backups")
    run = new_run(config.runs, MODEL)
    task({"run": run, "server": os.getpid()}, store)
    progress = read_run(config.runs, run)
    assert progress is not None and progress["state"] == "promoted", progress
    assert "Calibrated with 14 normal patients" in progress["verdict"]["reason"]
    assert registry.current(MODEL).name == "v0002"
    spec = ModelSpec.load(registry.current(MODEL).path)
    assert len(spec.calibration[MEDGAN]["scores"]) == 14
    answer = infer(client_of(config), MODEL, {"image": "p0", "output": "json"}, false_positives=0.1)
    assert answer.status_code == 200 and '"healthy":14' in answer.text.replace(" ", "")


def test_studies_that_are_damaged_or_removed_do_not_end_a_run(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(config)
    for number in range(14):
        mark(client, f"p{number}", "normal")
    image = read_volume(config.studies / "p0.nii.gz")
    image.array[0, 0, 0] = np.nan
    write_volume(config.studies / "p0.nii.gz", image)
    registry = Registry(config.models, config.data / "models")
    task, store = AnomalyTraining(MODEL, config, registry), StudyDatastore(config.studies, config.data / "backups")
    adapting, path_of = module.adapt, StudyDatastore.image_path

    def late(*given: Any) -> Any:
        store.remove_image("p2")
        return adapting(*given)

    def gone(self: StudyDatastore, study: str) -> Path:
        if study == "p1":
            raise MedGANError("unknown_image", "There is no study 'p1'.")
        return path_of(self, study)

    monkeypatch.setattr(module, "adapt", late)
    monkeypatch.setattr(StudyDatastore, "image_path", gone)
    run = new_run(config.runs, MODEL)
    task({"run": run, "server": os.getpid()}, store)
    progress = read_run(config.runs, run)
    assert progress is not None and progress["verdict"], progress
    assert "Calibrated with 12 normal patients" in progress["verdict"]["reason"]
    assert progress["skipped"][0].startswith("p0: The image has 1 voxels")
    assert progress["skipped"][1:] == ["p1: removed meanwhile"]


def test_pictures_are_looked_at_marked_and_learned_from(tmp_path: Path) -> None:
    """A study of one slice, as Slicer sends a radiograph."""
    models, studies = untrained(tmp_path / "models", 2), tmp_path / "studies"
    studies.mkdir()
    for number in range(12):
        write_volume(studies / f"x{number}.nii.gz", Volume(picture(700 + number)[..., None], SCREEN))
    config = ServerConfig(studies, tmp_path / "data", models=models)
    client = client_of(config)
    answer = infer(client, MODEL, {"image": "x0", "output": "json"})
    assert answer.status_code == 200 and '"healthy":24' in answer.text.replace(" ", ""), answer.text
    for number in range(12):
        assert mark(client, f"x{number}", "normal").status_code == 200
    config.prepare()
    task = AnomalyTraining(MODEL, config, Registry(models, config.data / "models"))
    run = new_run(config.runs, MODEL)
    task({"run": run, "server": os.getpid()}, StudyDatastore(studies, config.data / "backups"))
    progress = read_run(config.runs, run)
    assert progress is not None and progress["state"] == "promoted" and progress["skipped"] == [], progress


def test_volumes_are_refused_by_a_model_of_pictures_and_slices_by_one_of_volumes(
    client: TestClient, config: ServerConfig, tmp_path: Path
) -> None:
    write_volume(config.studies / "slice.nii.gz", Volume(picture(1)[..., None], SCREEN))
    assert error(infer(client, MODEL, {"image": "slice"})) == (422, "cannot_process")
    flat = client_of(ServerConfig(config.studies, tmp_path / "other", models=untrained(tmp_path / "flat", 2)))
    assert error(infer(flat, MODEL, {"image": "p0"})) == (422, "cannot_process")


def test_the_gate_refuses_what_tells_worse() -> None:
    better = Adapted(20, 5, 0.4, 0.80, 0.82)
    assert verdict_on(better).promoted and "AUROC on 25 marked cases 0.800 -> 0.820" in verdict_on(better).reason
    worse = verdict_on(replace(better, auroc_after=0.7))
    assert not worse.promoted and worse.reason.startswith("The serving version stays: AUROC")
    assert verdict_on(replace(better, auroc_before=None, auroc_after=None)).promoted

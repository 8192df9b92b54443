"""What an administrator sees: readiness, figures, one id a request, and a log that tells no name and no path."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from logging.config import dictConfig
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from server_world import MODEL, client_of, crop, error, truth

from monailabel_app import storage
from monailabel_app.config import ServerConfig
from monailabel_app.logs import log_config, study_names
from monailabel_app.routes import monitoring
from trainers.data.volumes import write_volume

PATIENT = "Doe_John_1970"


@pytest.fixture(scope="module")
def config(models: Path, tmp_path_factory: pytest.TempPathFactory) -> ServerConfig:
    folder = tmp_path_factory.mktemp("monitored")
    write_volume(folder / "studies" / f"{PATIENT}.nii.gz", crop(0))
    return ServerConfig(folder / "studies", folder / "data", models=models, log_format="json", max_upload_mb=64)


@pytest.fixture(scope="module")
def client(config: ServerConfig) -> TestClient:
    return client_of(config)


@pytest.fixture
def lines(config: ServerConfig) -> Iterator[Any]:
    """The log of the test, as it is written in JSON."""
    root, levels = logging.getLogger(), {}
    before, level = list(root.handlers), root.level
    settings = log_config(config)
    for name in settings["loggers"]:
        levels[name] = logging.getLogger(name).level
    settings["handlers"]["terminal"]["stream"] = "ext://sys.stdout"
    dictConfig(settings)
    config.log.write_text("", encoding="utf-8")
    yield lambda: [json.loads(line) for line in config.log.read_text(encoding="utf-8").splitlines()]
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before, level
    for name, earlier in levels.items():
        logging.getLogger(name).setLevel(earlier)


def figures(client: TestClient) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def infer(client: TestClient) -> httpx.Response:
    return client.post(f"/infer/{MODEL}", params={"image": PATIENT, "output": "json"})


def test_requests_inferences_and_labels_are_counted(client: TestClient, tmp_path: Path) -> None:
    assert infer(client).status_code == 200
    write_volume(tmp_path / "l.nii.gz", truth(crop(0)))
    with (tmp_path / "l.nii.gz").open("rb") as stream:
        data = {"params": json.dumps({"model": MODEL})}
        client.put("/datastore/label", params={"image": PATIENT}, data=data, files={"label": ("l.nii.gz", stream)})
    client.get(f"/datastore/image?image={PATIENT}x")
    client.get(f"/{PATIENT}")
    found = figures(client)
    assert found["medgan_requests_total", "/infer/{model}", "200", "POST"] == 1
    assert found["medgan_requests_total", "/datastore/image", "404", "GET"] == 1
    assert found["medgan_requests_total", "404", "GET", "unknown"] == 1
    assert found["medgan_request_seconds_count", "/infer/{model}"] == 1
    assert found["medgan_inference_seconds_count", MODEL] == 1
    assert found["medgan_labels_submitted_total", MODEL] == 1
    assert found["medgan_model_available", MODEL] == 1
    for name in ("medgan_inference_waiting", "medgan_inference_running", "medgan_training_waiting"):
        assert found[name,] == 0
    assert found["medgan_disk_free_bytes", "data"] > 0
    assert found["process_resident_memory_bytes",] > 1e6 and found["process_cpu_seconds_total",] > 0


def test_work_that_goes_on_and_versions_are_told(client: TestClient) -> None:
    state: Any = client.app
    with state.state.services.jobs.run(MODEL):
        assert figures(client)["medgan_inference_running",] == 1
    assert figures(client)["medgan_versions", "refused", MODEL] == 0


def test_figures_name_no_study_and_no_path(client: TestClient, config: ServerConfig) -> None:
    infer(client)
    client.request("BREW", f"/datastore/image?image={PATIENT}")
    client.post(f"/infer/{PATIENT}")
    text = client.get("/metrics").text
    assert PATIENT not in text and str(config.studies) not in text and "BREW" not in text


def test_ready(client: TestClient) -> None:
    told = client.get("/ready").json()
    assert told["status"] == "ready"
    assert MODEL not in told["unavailable"]


def test_not_ready_says_why(client: TestClient, monkeypatch: pytest.MonkeyPatch, config: ServerConfig) -> None:
    def reason() -> str:
        answer = client.get("/ready")
        assert error(answer) == (503, "not_ready")
        assert answer.headers["retry-after"] == "60" and str(config.data) not in answer.text
        return str(answer.json()["error"]["message"])

    with monkeypatch.context() as patch:
        patch.setattr(monitoring, "is_writable", lambda folder: folder != config.studies)
        assert "studies folder cannot be written" in reason()
    with monkeypatch.context() as patch:
        patch.setattr(monitoring, "free_bytes", lambda folder: 1000)
        assert "less than 64 MB free for data" in reason()
    with monkeypatch.context() as patch:
        state: Any = client.app
        patch.setattr(type(state.state.services), "can_serve", lambda self, name: False)
        assert "no model can serve" in reason()
    assert client.get("/ready").status_code == 200


def test_a_folder_that_is_gone_is_not_writable_and_has_no_room(tmp_path: Path) -> None:
    assert storage.is_writable(tmp_path) and storage.free_bytes(tmp_path) > 0
    assert not storage.is_writable(tmp_path / "gone") and storage.free_bytes(tmp_path / "gone") == 0


def test_one_id_in_answer_error_and_log(client: TestClient, lines: Any) -> None:
    answer = client.get(f"/datastore/image?image={PATIENT}x")
    name = answer.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{16}", name)
    assert answer.json()["error"]["id"] == name
    found = [line for line in lines() if line.get("request_id") == name]
    assert {line["logger"] for line in found} == {"monailabel_app.errors", "monailabel_app.tracing"}
    request = found[-1]
    assert (request["route"], request["method"], request["status"]) == ("/datastore/image", "GET", 404)
    assert request["ms"] >= 0 and request["time"].endswith("+00:00") and request["level"] == "INFO"
    given = "0123456789abcdef0123456789abcdef"
    assert client.get("/health", headers={"x-request-id": given}).headers["x-request-id"] == given
    for bad in (PATIENT, "x", "a" * 100, "../../etc"):
        assert client.get("/health", headers={"x-request-id": bad}).headers["x-request-id"] != bad


def test_a_failure_nobody_foresaw_has_the_id_and_headers_too(
    client: TestClient, lines: Any, monkeypatch: pytest.MonkeyPatch, config: ServerConfig
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError(f"secret of {PATIENT} in {config.studies / PATIENT}.nii.gz")

    state: Any = client.app
    monkeypatch.setattr(state.state.services.app, "info", fail)
    answer = client.get("/info/")
    assert error(answer) == (500, "server_error")
    assert "secret" not in answer.text and answer.headers["x-content-type-options"] == "nosniff"
    name = answer.headers["x-request-id"]
    assert answer.json()["error"]["id"] == name
    told = next(line for line in lines() if line["level"] == "ERROR")
    assert told["request_id"] == name and "ZeroDivisionError" in told["message"]
    assert PATIENT not in json.dumps(told) and str(config.studies) not in json.dumps(told)


def test_json_lines_tell_no_names_and_no_paths(client: TestClient, lines: Any, config: ServerConfig) -> None:
    infer(client)
    client.get("/datastore/image?image=Never_Here_1980")
    client.get(f"/datastore/label?label={PATIENT}&tag=none")
    client.get("/datastore/image?image=..%2fO'Brien")
    logging.getLogger("x").warning("The file %s of %s is left out.", f"{PATIENT}.nii.gz", config.studies / "a.nii")
    logging.getLogger("x").warning("%s", OSError(5, "Broken", str(config.studies / "Roe, Jane" / "b c.nii")))
    text = json.dumps(lines())
    for name in (PATIENT, "Never_Here_1980", "Brien", str(config.studies), "a.nii", "Roe", "c.nii"):
        assert name not in text
    assert "unknown_label" in text and "unknown_image" in text
    assert PATIENT not in client.get("/logs/").text


def test_probes_are_not_in_the_log(client: TestClient, lines: Any) -> None:
    for path in ("/health", "/ready", "/metrics"):
        client.get(path)
    assert lines() == []


def test_names_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nrrd", "c.d.mha", ".lock"):
        (tmp_path / name).touch()
    (tmp_path / "labels").mkdir()
    assert study_names(tmp_path) == {"a.nii.gz", "a", "b.nrrd", "b", "c.d.mha", "c.d"}

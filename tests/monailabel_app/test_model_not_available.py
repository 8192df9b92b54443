"""A model without usable weights: a clear 503, never random output, and the rest of the server works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from server_world import MODEL, client_of, crop, error, make_studies

from monailabel_app.config import ServerConfig
from monailabel_app.registry import Registry
from trainers.data.volumes import write_volume
from trainers.spec import WEIGHTS_FILE


@pytest.fixture
def config(models: Path, tmp_path: Path) -> ServerConfig:
    shutil.copytree(models / MODEL, tmp_path / "models" / MODEL)
    Registry(tmp_path / "models", tmp_path / "none").seal(MODEL, "v0001")
    return ServerConfig(make_studies(tmp_path / "studies", 1), tmp_path / "data", models=tmp_path / "models")


def infer(client: TestClient) -> tuple[int, str]:
    answer = client.post(f"/infer/{MODEL}", params={"image": "study_0", "output": "json"})
    return (200, answer.json()["version"]) if answer.status_code == 200 else error(answer)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"garbage")])
def test_damaged_weights(config: ServerConfig, damage: object) -> None:
    damage(config.models / MODEL / "v0001" / WEIGHTS_FILE)  # type: ignore[operator]
    client = client_of(config)
    assert infer(client) == (503, "model_not_available")
    assert error(client.post(f"/train/{MODEL}")) == (503, "model_not_available")
    assert client.get("/info/").json()["models"][MODEL]["labels"]
    assert client.get("/datastore/").json()["total"] == 1


def test_damage_is_told_and_an_administrator_rolls_back(config: ServerConfig) -> None:
    client = client_of(config)
    registry = Registry(config.models, config.data / "models")
    with registry.staging(MODEL, "r") as folder:
        shutil.copytree(config.models / MODEL / "v0001", folder, dirs_exist_ok=True)
        made = registry.add(MODEL, folder, "v0001", "r")
    registry.judge(made, True, "better", [])
    flip_a_bit(made.path / WEIGHTS_FILE)
    assert infer(client) == (503, "model_not_available"), "no silent fall back"
    assert client.put(f"/models/{MODEL}/current", json={"version": "v0001"}).status_code == 200
    assert infer(client) == (200, "v0001")
    assert error(client.put(f"/models/{MODEL}/current", json={"version": "v0002"})) == (503, "model_not_available")
    assert infer(client) == (200, "v0001")


def test_a_model_whose_spec_is_gone_is_left_out(config: ServerConfig) -> None:
    (config.models / MODEL / "v0001" / "spec.json").unlink()
    client = client_of(config)
    assert client.get("/info/").json()["models"] == {}
    assert infer(client) == (404, "unknown_model")


def test_new_studies_in_the_folder_are_served_at_once(config: ServerConfig) -> None:
    client = client_of(config)
    write_volume(config.studies / "later.nrrd", crop(1))
    answer = client.post(f"/infer/{MODEL}", params={"image": "later", "output": "json"})
    assert answer.status_code == 200

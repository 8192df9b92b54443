"""The version whose answer a label corrects: kept with it, told in its history, and never another server's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import client_of

from monailabel_app.config import SHIPPED_MODELS, ServerConfig
from trainers.data.volumes import Volume, write_volume

MODEL = "hippocampus_segmentation"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("server")
    write_volume(folder / "studies" / "a.nii.gz", Volume(np.zeros((4, 4, 4), np.float32), np.eye(4)))
    return client_of(ServerConfig(folder / "studies", folder / "data", models=SHIPPED_MODELS))


def submit(client: TestClient, folder: Path, **params: Any) -> dict[str, Any]:
    """Submits a label; returns its entry in the history."""
    path = folder / "label.nii.gz"
    write_volume(path, Volume(np.ones((4, 4, 4), np.uint8), np.eye(4)))
    with path.open("rb") as stream:
        answer = client.put(
            "/datastore/label",
            params={"image": "a"},
            data={"params": json.dumps(params)},
            files={"label": ("label.nii.gz", stream)},
        )
    assert answer.status_code == 200, answer.text
    entry: dict[str, Any] = client.get("/datastore/label/history", params={"label": "a"}).json()["entries"][-1]
    return entry


def test_it_is_kept_and_told(client: TestClient, tmp_path: Path) -> None:
    entry = submit(client, tmp_path, model=MODEL, version="v0001")
    assert (entry["model"], entry["version"]) == (MODEL, "v0001")
    info = client.get("/datastore/label/info", params={"label": "a", "tag": "final"}).json()
    assert info["version"] == "v0001"


@pytest.mark.parametrize(
    "told",
    [
        {"model": MODEL},
        {"model": MODEL, "version": "v0999"},
        {"model": MODEL, "version": {"name": "v0001"}},
        {"model": MODEL, "version": ["v0001"]},
        {"version": "v0001"},
    ],
)
def test_an_older_client_or_another_servers_version(client: TestClient, tmp_path: Path, told: dict[str, Any]) -> None:
    assert submit(client, tmp_path, **told)["version"] == "", "the label is taken, its version is not known"

"""The table of weaknesses: the tests that it names exist, and the few that belong nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from server_world import MODEL, client_of, crop, error, truth
from torch import nn

from monailabel_app.config import ServerConfig
from trainers.data.volumes import write_volume
from trainers.fit import fit
from trainers.task import Batch, FitConfig, Phase, TrainingTask

TESTS = Path(__file__).resolve().parent.parent
TABLE = TESTS.parent / "docs" / "weaknesses.md"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows() -> list[str]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("|") and not line.startswith(("| input", "| event", "|---"))]


@lru_cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_row_names_tests_that_exist() -> None:
    assert len(rows()) > 40
    for row in rows():
        named = NAMED.findall(row)
        assert row.count("|") == 5 and named, row
        for path, name in named:
            assert name in names_in(TESTS / path), f"{path}::{name}"


@pytest.fixture
def client(models: Path, tmp_path: Path) -> TestClient:
    write_volume(tmp_path / "studies" / "study_0.nii.gz", crop(0))
    return client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))


@pytest.mark.parametrize("tag", ["../..", "/etc", "..", "a/b", "a\\b", ".x"])
def test_a_batch_cannot_write_elsewhere(client: TestClient, tag: str) -> None:
    assert error(client.post(f"/batch/infer/{MODEL}", json={"label_tag": tag})) == (400, "bad_name")
    assert error(client.get("/batch/infer")) == (404, "unknown_job"), "nothing was started"


def test_a_label_of_another_kind_of_file(client: TestClient, tmp_path: Path) -> None:
    query = {"image": "study_0", "tag": "final"}
    write_volume(tmp_path / "label.nii.gz", truth(crop(0)))
    body = (tmp_path / "label.nii.gz").read_bytes()
    assert client.put("/datastore/label", params=query, files={"label": ("l.nii.gz", body)}).status_code == 200
    good = client.get("/datastore/label", params={"label": "study_0", "tag": "final"}).content
    for name in ("label.exe", "label", "label.nii.gz.exe", "label.py"):
        answer = client.put("/datastore/label", params=query, files={"label": (name, body)})
        assert error(answer) == (415, "not_an_image")
    assert client.get("/datastore/label", params={"label": "study_0", "tag": "final"}).content == good


def test_there_are_no_documentation_pages(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert error(client.get(path)) == (404, "not_found")


class Wanderer(TrainingTask):
    """Its weight grows by one each step; the measured error is least at three."""

    key_metric, higher_is_better = "error", False

    def __init__(self) -> None:
        self.networks = {"weight": nn.Linear(1, 1, bias=False)}
        nn.init.zeros_(self.networks["weight"].weight)

    def phases(self) -> list[Phase]:
        return [Phase("weight", ("weight",), lambda batch: {"down": -self.networks["weight"].weight.sum()})]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        return {"x": torch.zeros(size, 1)}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        return {"error": abs(networks["weight"].weight.item() - 3)}


def test_where_less_is_better_the_least_is_kept() -> None:
    config = FitConfig(
        steps=20, batch_size=1, learning_rate=1.0, ema=0.0, precision="fp32", weight_decay=0, device="cpu",
        validate_every=1, patience=4,
    )  # fmt: skip
    networks, history = fit(Wanderer(), config)
    errors = [metrics["error"] for _, metrics in history.metrics]
    assert min(errors) < max(errors)
    assert Wanderer().validate(networks)["error"] == pytest.approx(min(errors))

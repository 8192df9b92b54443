"""The cost and the seams of super-resolution, with a model that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import reconstruction
from trainers.data.volumes import Volume
from trainers.networks import build
from trainers.spec import ModelSpec, save_weights
from trainers.tasks.reconstruction.infer import Reconstructor

NETWORK = {"name": "SuperResolver", "spatial_dims": 3, "factors": [2, 2, 2], "channels": 4, "fine_channels": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = {**NETWORK, "blocks": 1}
    torch.manual_seed(0)
    save_weights(build(network), tmp_path / "model.safetensors")
    ModelSpec("m", "reconstruction", "M", "", network, {"measurement": "super_resolution"}).save(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def small_head(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0).random((9, 12, 10)).astype(np.float32)
    monkeypatch.setattr(reconstruction, "head", lambda: Volume(random, np.eye(4)))


def test_a_cube_keeps_its_size_in_mm() -> None:
    cube = reconstruction.cube(18)
    assert cube.shape == (18, 18, 18) and cube.spacing == pytest.approx([0.5, 0.5, 0.5])


def test_time_and_memory_of_a_process(folder: Path) -> None:
    seconds, peak = reconstruction._work(folder, 8, 1)
    assert 0 < seconds < 60 and 0.1 < peak < 50


def test_tiles_of_a_network_that_looks_as_far_as_they_reach_cannot_be_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reconstructor, "side", 8)
    rows = reconstruction.seams(folder, reconstruction.cube(20))
    assert rows[0]["value"] < 1e-3 and rows[2]["value"] > 0
    monkeypatch.setattr(Reconstructor, "halo", 0)
    assert reconstruction.seams(folder, reconstruction.cube(20))[0]["value"] > rows[0]["value"]

"""A trained model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainers.anomaly.world import pictures, recipe, volumes
from trainers.tasks.anomaly.train import train


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of pictures, all methods; a few hundred steps for the default, enough to find a flat box."""
    folder = tmp_path_factory.mktemp("anomaly") / "model"
    assert train(recipe(steps=250), pictures(), folder, "a command") is not None
    return folder


@pytest.fixture(scope="session")
def volume_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of volumes, hardly trained, without the reference."""
    folder = tmp_path_factory.mktemp("anomaly") / "volumes"
    assert train(recipe(3, reference=False), volumes(), folder) is not None
    return folder

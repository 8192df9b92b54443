"""A trained model, made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainers.anomaly.world import pictures, recipe, volumes
from trainers.tasks.anomaly.train import train


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of pictures, all methods; a few hundred steps for the default, enough to find a flat box.

    Of one more picture it is not known whether it is ill.
    """
    folder, data = tmp_path_factory.mktemp("anomaly") / "model", pictures()
    data.entries.append(replace(pictures(0, 9).entries[-1], target=None))
    assert train(recipe(steps=250), replace(data, patient_pattern="[a-z][0-9]+"), folder, "a command") is not None
    return folder


@pytest.fixture(scope="session")
def volume_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of volumes, hardly trained, without the reference."""
    folder = tmp_path_factory.mktemp("anomaly") / "volumes"
    assert train(recipe(3, reference=False), volumes(), folder) is not None
    return folder

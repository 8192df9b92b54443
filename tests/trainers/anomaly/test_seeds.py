"""The seed of the command line reaches all that learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.trainers.anomaly.world import SIZE, pictures, recipe, write_folder
from trainers.__main__ import app
from trainers.commands import anomaly as command
from trainers.tasks.anomaly import train as module
from trainers.tasks.anomaly.methods.fanogan import FAnoGAN, MappingConfig, MappingTask
from trainers.tasks.anomaly.recipe import AnomalyRecipe


def recipe_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> AnomalyRecipe:
    """What `train anomaly` would train."""
    given: list[AnomalyRecipe] = []
    monkeypatch.setattr(command, "train", lambda made, *_: given.append(made))
    write_folder(tmp_path / "data", range(2))
    words = ["--model", "fundus_anomaly", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "m"), *more]
    assert CliRunner().invoke(app, ["train", "anomaly", *words]).exit_code == 0
    return given[0]


def learned_with(one: AnomalyRecipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The seeds that training uses, by what learns."""
    seeds: dict[str, int] = {}
    trained, encoder = module.trained, module.train_encoder

    def watched(name: str, task: Any, *more: Any) -> Any:
        seeds[name] = task.seed
        assert task.batch(0, 2, 0) is not None and task.identity().get("seed", task.seed) == task.seed
        return trained(name, task, *more)

    def watched_encoder(images: Any, targets: Any, config: Any, *more: Any) -> Any:
        seeds["encoder"] = config.seed
        return encoder(images, targets, config, *more)

    monkeypatch.setattr(module, "trained", watched)
    monkeypatch.setattr(module, "train_encoder", watched_encoder)
    assert module.train(one, pictures(), out) is not None
    return seeds


def test_the_seed_reaches_all_that_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe_of(tmp_path, monkeypatch, "--seed", "7")
    assert chosen.reference is not None
    assert {chosen.restoring.seed, chosen.encoder.seed, chosen.reference.mapping.seed} == {7}
    seeds = learned_with(recipe(steps=2).seeded(7), tmp_path / "trained", monkeypatch)
    assert seeds == {"medgan": 7, "gan": 7, "mapping": 7, "encoder": 7}


def test_seed_0_is_the_recipe_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = recipe_of(tmp_path, monkeypatch)
    assert plain == command.ANOMALY_RECIPES["fundus_anomaly"] == plain.seeded(0)
    assert recipe(reference=False).seeded(3).reference is None


def test_an_encoder_of_another_seed_is_another_run() -> None:
    """A stopped one must not go on with it."""
    reference = recipe().reference
    assert reference is not None
    images = np.zeros((6, 1, *SIZE), np.float32)
    model = FAnoGAN(**reference.described(SIZE, 1))
    one, other = (MappingTask(model, images, images, MappingConfig((4, 8), seed)) for seed in (0, 1))
    assert one.identity() != other.identity()

"""Every preset learns from real chest X-rays within seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.data.readers import open_data
from trainers.fit import fit
from trainers.recipes import SYNTHESIS_RECIPES
from trainers.tasks.synthesis import PRESETS, SynthesisTask, with_preset
from trainers.tasks.synthesis.images import Images, prepare

STEPS = {"gan": 100, "default": 100, "wgan": 400, "wgan-gp": 400}  # a critic learns five times a step of the generator
RATES = {"gan": 1e-3, "default": 1e-3, "wgan": 2e-3, "wgan-gp": 2e-3}


@pytest.fixture(scope="module")
def chests(request: pytest.FixtureRequest) -> Images:
    """320 chest X-rays in two classes."""
    folder: Path = request.getfixturevalue("real_data") / "pneumoniamnist"
    if not folder.is_dir():
        pytest.skip("there are no chest X-rays")
    entries = open_data(folder).entries
    chosen = np.random.default_rng(0).permutation(len(entries))[:320]
    return prepare([entries[i] for i in chosen], SYNTHESIS_RECIPES["chest_xray_synthesis"].preprocess)


@pytest.mark.realdata
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_comes_nearer_to_real_chests(chests: Images, preset: str) -> None:
    steps = STEPS.get(preset, 400)
    recipe = SYNTHESIS_RECIPES["chest_xray_synthesis"]
    small = replace(recipe, generator=(32, 16, 8), discriminator=(12, 16, 32), latent=16)
    small = with_preset(
        small, preset, steps=steps, batch_size=16, ema=0.9, validate_every=0, learning_rate=RATES.get(preset, 1e-3)
    )
    unseen = chests.part(range(200, 320))
    torch.manual_seed(0)
    task = SynthesisTask(chests.part(range(200)), small.shape(1, (2,)), small.config, unseen)
    start = task.validate(task.networks)["kid"]
    networks, history = fit(task, small.fit)
    assert history.metrics[-1][1]["kid"] < 0.65 * start
    made = task.sample(networks["generator"], unseen)
    assert np.corrcoef(made.mean((0, 1)).ravel(), unseen.array.mean((0, 1)).ravel())[0, 1] > 0.5

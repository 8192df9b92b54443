"""Each kind of GAN on real chest X-rays: KID before, on the way and at the end of a short training."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trainers.data.readers import open_data
from trainers.data.splits import split_data
from trainers.fit import fit
from trainers.monitor import Monitor
from trainers.recipes import SYNTHESIS_RECIPES
from trainers.tasks.synthesis.evaluate import load_encoder
from trainers.tasks.synthesis.images import prepare
from trainers.tasks.synthesis.presets import PRESETS
from trainers.tasks.synthesis.recipe import with_preset
from trainers.tasks.synthesis.task import SynthesisTask
from trainers.zoo import find_model

MODEL = "chest_xray_synthesis"
STEPS, LOOKS = 600, 4


def measure(data: Path, monitor: Monitor = Monitor(), steps: int = STEPS) -> list[dict[str, Any]]:
    """One row a preset: KID of the averaged generator's images against the validation part, by step."""
    recipe = SYNTHESIS_RECIPES[MODEL]
    opened = open_data(data)
    split = split_data(opened, recipe.validation, recipe.test, own_parts=True)
    train, validation = (prepare(part, recipe.preprocess) for part in (split.train, split.validation))
    encoder = load_encoder(find_model(MODEL))
    rows = []
    for name, preset in PRESETS.items():
        monitor.report(stage=name)
        mine = with_preset(recipe, name, steps=steps, validate_every=steps // LOOKS, ema=0.99)
        mine = replace(mine, config=replace(mine.config, steps=steps))
        torch.manual_seed(0)
        task = SynthesisTask(train, mine.shape(1, [len(opened.classes)]), mine.config, validation, encoder)
        before = task.validate({n: net.eval() for n, net in task.networks.items()})["kid"]
        started = time.monotonic()
        _, history = fit(task, mine.fit, None, monitor)
        seen = {f"step {step}": metrics["kid"] for step, metrics in history.metrics}
        minutes = round((time.monotonic() - started) / 60, 1)
        rows.append({"preset": name, "source": preset.source, "before": before, **seen, "minutes": minutes})
    return rows

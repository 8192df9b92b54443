"""Ten corrections raise a weak model; poisoned ones are refused and change nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.clinic import clinic, served_dice, train
from trainers.console import ConsoleMonitor
from trainers.data.cases import Case, find_cases, split_cases
from trainers.data.volumes import Volume, read_label, write_volume
from trainers.recipes import RECIPES
from trainers.tasks.segmentation.interactive import without_clicks
from trainers.tasks.segmentation.train import train as train_recipe
from trainers.zoo import SHIPPED

MODEL = "hippocampus_segmentation"
WEAK_CASES, WEAK_STEPS = 8, 1200
CORRECTED, HELD_OUT = 10, 20
Labels = npt.NDArray[Any]

POISONS: dict[str, Callable[[Labels], Labels]] = {
    "anterior and posterior exchanged": lambda label: np.array([0, 2, 1], np.uint8)[label],
    "labels 8 mm off": lambda label: np.roll(label, 8, axis=2),
    "everything posterior": lambda label: np.where(label > 0, 2, 0).astype(np.uint8),
}


def measure(data: Path, out: Path) -> list[dict[str, Any]]:
    """One row for true and one for each kind of poisoned corrections.

    All patients are from the recipe's test part, which no version was trained on: the first ten by name are corrected,
    the next twenty measured on through the server before and after.
    """
    models = weak_models(data, out)
    recipe = RECIPES[MODEL]
    patients = split_cases(find_cases(data), recipe.validation, recipe.test).test
    corrected, held_out = patients[:CORRECTED], patients[CORRECTED : CORRECTED + HELD_OUT]
    rows = [_play("true", corrected, held_out, models, out)]
    for name, poison in POISONS.items():
        rows.append(_play(name, _poisoned(corrected, poison, out / "poisoned"), held_out, models, out))
    return rows


def weak_models(data: Path, out: Path, steps: int = WEAK_STEPS) -> Path:
    """A folder of models whose first version saw eight patients only; trained once, then kept."""
    folder = out / f"models-{steps}" / MODEL
    if not (folder / "v0001" / "card.md").is_file():
        recipe = RECIPES[MODEL]
        fit = replace(recipe.fit, steps=steps, validate_every=0)
        recipe = replace(recipe, spec=without_clicks(recipe.spec), fit=fit, interactive=None)
        with ConsoleMonitor() as monitor:
            train_recipe(recipe, data, folder / "v0001", WEAK_CASES, monitor)
        shutil.copytree(SHIPPED / MODEL / "reference", folder / "reference", dirs_exist_ok=True)
    return folder.parent


def _play(name: str, corrected: Sequence[Case], held_out: Sequence[Case], models: Path, out: Path) -> dict[str, Any]:
    """Submits labels, trains, and measures what serves before and after."""
    with clinic(out / "clinic", corrected, "--models", str(models)) as client:
        serving = client.info().model(MODEL)
        before = served_dice(client, MODEL, held_out, out / "answers")
        for case in corrected:
            client.submit_label(case.id, case.label, model=MODEL)
        status = train(client, MODEL)
        after = served_dice(client, MODEL, held_out, out / "answers")
        now = client.info().model(MODEL)
    assert serving and now
    return {
        "corrections": name, "held-out Dice before": before, "after": after, "gate": status.state,
        "same weights serve": "yes" if serving.checksum == now.checksum else "no", "training s": round(status.seconds),
        "reason": status.verdict.reason if status.verdict else status.error,
    }  # fmt: skip


def _poisoned(cases: Sequence[Case], poison: Callable[[Labels], Labels], folder: Path) -> list[Case]:
    """The same cases with spoilt labels."""
    spoilt = []
    for case in cases:
        label, path = read_label(case.label), folder / case.label.name
        write_volume(path, Volume(poison(label.array), label.affine))
        spoilt.append(replace(case, label=path))
    return spoilt

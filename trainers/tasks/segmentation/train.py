"""Training a segmentation model from a recipe: split, fit, save, measure on patients kept away, write the card."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trainers.card import write_card
from trainers.data.cases import Split, find_cases, hash_fraction, split_cases
from trainers.fit import History, fit
from trainers.monitor import Monitor
from trainers.networks import build
from trainers.recipes import Recipe
from trainers.spec import DISCRIMINATOR_FILE, WEIGHTS_FILE, ModelSpec, save_weights
from trainers.tasks.segmentation.evaluate import Report, evaluate
from trainers.tasks.segmentation.task import SegmentationTask


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    train_cases: int = 0,
    monitor: Monitor = Monitor(),
) -> Report:
    """Trains a recipe on `data` (images/ and labels/) and writes weights, spec and card to `out`.

    Args:
        recipe: what to train.
        data: the cases.
        out: the model's folder; a run that was stopped there goes on.
        train_cases: use only that many training patients, the first by hash; 0 uses all.
        monitor: see `trainers.fit.fit`.

    Returns:
        The measurements on the test patients.
    """
    split = split_cases(find_cases(data), recipe.validation, recipe.test)
    by_hash = sorted(split.train, key=lambda case: hash_fraction(case.id))
    cases = by_hash[:train_cases] if train_cases else split.train
    torch.manual_seed(recipe.config.seed)
    task = SegmentationTask(recipe.spec, build(recipe.spec.network), cases, split.validation, config=recipe.config)
    cpu = time.process_time()
    averaged, history = fit(task, recipe.fit, out, monitor)
    spec = recipe.spec.replace(training=_record(recipe, split, len(cases), history, time.process_time() - cpu))
    out.mkdir(parents=True, exist_ok=True)
    save_weights(averaged["generator"], out / WEIGHTS_FILE)
    if "discriminator" in averaged:
        save_weights(averaged["discriminator"], out / DISCRIMINATOR_FILE)
    spec.save(out)
    report = evaluate(out, split.test)
    measured = spec.replace(metrics=_metrics(report))
    measured.save(out)
    write_card(measured, out, recipe.limits)
    return report


def part_ids(spec: ModelSpec, part: str) -> set[str] | None:
    """Patients of a part (`test`, `validation`) of the split that a model was trained with; None for `all`."""
    return None if part == "all" else set(spec.training["split"][part])


def _record(recipe: Recipe, split: Split, cases: int, history: History, cpu: float) -> dict[str, Any]:
    return {
        "command": f"python -m trainers train segmentation --model {recipe.spec.name} --data DIR --out DIR",
        "cases": cases,
        "split": {"test": [c.id for c in split.test], "validation": [c.id for c in split.validation]},
        "minutes": round(history.seconds / 60, 1),
        "cpu_minutes_of_the_last_process": round(cpu / 60, 1),
        "validation_dice_by_step": [[step, round(m["dice_mean"], 4)] for step, m in history.metrics],
        "task": asdict(recipe.config),
        "fit": asdict(recipe.fit),
    }


def _metrics(report: Report) -> dict[str, dict[str, Any]]:
    note = f"{len(report.per_case)} patients not trained on"
    values = {"dice_mean": report.dice_mean, **{f"dice_{n}": v for n, v in report.dice.items()}}
    distances = {"hd95_mm_mean": report.hd95_mean, **{f"hd95_mm_{n}": v for n, v in report.mean("hd95_mm").items()}}
    return {
        **{k: {"value": round(v, 4), "higher_is_better": True, "note": note} for k, v in values.items()},
        **{k: {"value": round(v, 3), "higher_is_better": False, "note": note} for k, v in distances.items()},
    }

"""Training a segmentation model from a recipe: split, fit, save, measure on patients kept away, write the card."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.card import write_card
from trainers.data.cases import Case, CasesError, Split, find_cases, hash_fraction, split_cases
from trainers.data.readers.base import patient_of
from trainers.distributed import World
from trainers.fit import CHECKPOINT_FILE, History, fit
from trainers.known import pattern_of
from trainers.monitor import Monitor
from trainers.networks import build
from trainers.recipes import Recipe
from trainers.spec import DISCRIMINATOR_FILE, WEIGHTS_FILE, ModelSpec, save_weights
from trainers.tasks.segmentation.evaluate import Report, evaluate
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.interaction import metrics_of
from trainers.tasks.segmentation.interactive import train_interactive
from trainers.tasks.segmentation.task import SegmentationTask


class Part(str, Enum):
    """Patients of a data set by their use in training a model."""

    all = "all"
    test = "test"
    validation = "validation"


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    train_cases: int = 0,
    monitor: Monitor = Monitor(),
    command: str = "",
    patient_pattern: str = "",
) -> Report | None:
    """Trains a recipe on `data` (images/ and labels/) and writes weights, spec and card to `out`.

    Of several processes started by torchrun only the first one measures and writes.

    Args:
        recipe: what to train.
        data: the cases.
        out: the model's folder; a run that was stopped there goes on.
        train_cases: use only that many training patients, the first by hash; 0 uses all.
        monitor: see `trainers.fit.fit`.
        command: that made it, for the card.
        patient_pattern: finds the patient in a file's name without suffix; empty takes each file for a patient.

    Returns:
        The measurements on the test patients; None in all processes but the first.

    Raises:
        CasesError: too few patients, or a pattern that does not fit. CheckpointMismatch: `out` holds a stopped run with
        other settings.
        FileNotFoundError, VolumeError: the data cannot be read.
    """
    split = _split(recipe, _by_patient(find_cases(data), patient_pattern))
    cases = _of_first_patients(split.train, train_cases) if train_cases else split.train
    common = _common(recipe, split, cases, command, patient_pattern)
    if recipe.interactive:
        spec = train_interactive(recipe, cases, split.validation, out, monitor)
        if spec is None:
            return None
        record = {**common, **spec.training}
        told = metrics_of(Segmenter(out), split.test, monitor)
        return _measured(spec.replace(training=record, metrics=told), split.test, out)
    torch.manual_seed(recipe.config.seed)
    task = SegmentationTask(recipe.spec, build(recipe.spec.network), cases, split.validation, config=recipe.config)
    cpu = time.process_time()
    averaged, history = fit(task, recipe.fit, out, monitor)
    if World.from_environment().rank > 0:
        return None
    record = {**common, **_times(history, time.process_time() - cpu)}
    _save(averaged, out)
    return _measured(recipe.spec.replace(training=record), split.test, out)


def part_ids(spec: ModelSpec, part: Part | str) -> set[str] | None:
    """Cases of a part of the split that a model was trained with; None for all.

    Raises:
        CasesError: the model does not tell its split.
    """
    if part == Part.all:
        return None
    name, split = Part(part).value, spec.training.get("split", {})
    if name not in split:
        raise CasesError(f"{spec.name} does not tell its {name} patients; measure it with --part all.")
    return set(split[name])


def choose_cases(data: Path, spec: ModelSpec, part: Part) -> list[Case]:
    """The cases in `data` that are of a part. Raises CasesError if none is."""
    ids = part_ids(spec, part)
    cases = [c for c in find_cases(data) if ids is None or c.id in ids]
    if not cases:
        raise CasesError(f"None of the {part.value} patients of {spec.name} is in {data}.")
    return cases


def warnings_of(spec: ModelSpec, cases: Sequence[Case]) -> list[str]:
    """What must be known of figures on cases of whom a model may have seen some: a sentence, or none."""
    split = spec.training.get("split", {})
    pattern = pattern_of(spec)
    seen = {part: {_patient(id, pattern) for id in ids} for part, ids in split.items()}
    count = {part: sum(_patient(case.id, pattern) in ids for case in cases) for part, ids in seen.items()}
    learned, watched = count.get("train", 0), count.get("validation", 0)
    if split and "train" not in split and not count.get("test"):
        return [
            f"{spec.name} does not tell which patients it learned from, and none of its test patients is here: these "
            "may be among those that it learned from, on whom the figures are too good."
        ]
    if split and "train" not in split:
        return [
            f"{count['test']} of the {len(cases)} images are of {spec.name}'s test patients, so it probably learned "
            "from the others, and the figures on them are too good. --part test measures on those alone."
        ]
    if not learned and not watched:
        return []
    return [
        f"Of the {len(cases)} images {spec.name} learned from {learned}, and {watched} were watched meanwhile: the "
        "figures on them are too good. --part test measures on its test patients alone."
    ]


def _by_patient(cases: Sequence[Case], pattern: str) -> list[Case]:
    return [replace(case, patient=patient_of(case.id, pattern or None)) for case in cases]


def _patient(id: str, pattern: str) -> str:
    """The patient of a case, also of another set, which the pattern need not fit."""
    try:
        return patient_of(id, pattern or None)
    except CasesError:
        return id


def _of_first_patients(cases: Sequence[Case], number: int) -> list[Case]:
    """The cases of so many patients, the first by hash."""
    order = sorted({case.patient for case in cases}, key=hash_fraction)[:number]
    return sorted((case for case in cases if case.patient in order), key=lambda case: order.index(case.patient))


def _split(recipe: Recipe, cases: list[Case]) -> Split:
    least, patients = recipe.test + recipe.validation + 1, len({case.patient for case in cases})
    if patients < least:
        raise CasesError(
            f"{recipe.spec.name} needs at least {least} patients: {recipe.test} test + {recipe.validation} validation "
            f"+ 1 to learn from. There are {patients}."
        )
    return split_cases(cases, recipe.validation, recipe.test)


def _save(averaged: Mapping[str, nn.Module], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_weights(averaged["generator"], out / WEIGHTS_FILE)
    if "discriminator" in averaged:
        save_weights(averaged["discriminator"], out / DISCRIMINATOR_FILE)


def _measured(spec: ModelSpec, test: list[Case], out: Path) -> Report:
    """Measures the model, writes its spec and card, and removes the checkpoint, which is of no more use."""
    spec.save(out)
    report = evaluate(out, test)
    measured = spec.replace(metrics={**_metrics(report), **spec.metrics})
    measured.save(out)
    write_card(measured, out)
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return report


def _common(recipe: Recipe, split: Split, train: Sequence[Case], command: str, patient_pattern: str) -> dict[str, Any]:
    parts = {"train": train, "validation": split.validation, "test": split.test}
    usual = f"python -m trainers train segmentation --model {recipe.spec.name} --data DIR --out DIR"
    return {
        "command": command or usual,
        "cases": len(train),
        "split": {part: sorted(c.id for c in cases) for part, cases in parts.items()},
        **({"patient_pattern": patient_pattern} if patient_pattern else {}),
        "task": asdict(recipe.config),
        "fit": asdict(recipe.fit),
    }


def _times(history: History, cpu: float) -> dict[str, Any]:
    return {
        "minutes": round(history.seconds / 60, 1),
        "cpu_minutes_of_the_last_process": round(cpu / 60, 1),
        "validation_dice_by_step": [[step, round(m["dice_mean"], 4)] for step, m in history.metrics],
    }


def _metrics(report: Report) -> dict[str, dict[str, Any]]:
    note = f"{len(report.per_case)} patients not trained on"
    values = {"dice_mean": report.dice_mean, **{f"dice_{n}": v for n, v in report.dice.items()}}
    distances = {"hd95_mm_mean": report.hd95_mean, **{f"hd95_mm_{n}": v for n, v in report.mean("hd95_mm").items()}}
    return {
        **{k: {"value": round(v, 4), "higher_is_better": True, "note": note} for k, v in _finite(values)},
        **{k: {"value": round(v, 3), "higher_is_better": False, "note": note} for k, v in _finite(distances)},
    }


def _finite(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """Those that were measured: a label that was never found has no distance."""
    return [(name, value) for name, value in values.items() if math.isfinite(value)]

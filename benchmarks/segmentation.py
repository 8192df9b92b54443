"""The shipped segmentation model on its own test patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.data.cases import find_cases
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import evaluate
from trainers.tasks.segmentation.train import part_ids
from trainers.zoo import find_model


def measure(data: Path, model: str = "hippocampus_segmentation") -> list[dict[str, Any]]:
    """One row with and one without averaged views: Dice, HD95 (mm), median seconds a case."""
    folder = find_model(model)
    ids = part_ids(ModelSpec.load(folder), "test")
    cases = [c for c in find_cases(data) if ids is None or c.id in ids]
    rows = []
    for average in (True, False):
        report = evaluate(folder, cases, test_time_augmentation=average)
        dice = {f"Dice {name}": value for name, value in report.dice.items()}
        rows.append(
            {
                "averaged views": "yes" if average else "no", "patients": len(cases), **dice,
                "Dice mean": report.dice_mean, "HD95 mm": report.hd95_mean, "seconds": report.seconds,
            }
        )  # fmt: skip
    return rows

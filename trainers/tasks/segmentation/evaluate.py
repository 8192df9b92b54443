"""Measuring a segmentation model on labelled cases, through the same path that serves clinicians."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.cases import Case, find_cases
from trainers.metrics import label_metrics
from trainers.monitor import Monitor
from trainers.preprocess import CanonicalGrid
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.regions import is_small
from trainers.tasks.segmentation.samples import load_case, organ_points

REFERENCE_FOLDER = "reference"


@dataclass(frozen=True)
class Report:
    """Measurements of one model.

    Attributes:
        per_case: `{"id", "dice": {label: value}, "hd95_mm": {label: value}, "seconds", "prompted"}` of each case.
        skipped: large images without a labelled organ: there is no place to look and nothing to compare.
    """

    per_case: list[dict[str, Any]]
    skipped: list[str] = field(default_factory=list)

    def mean(self, metric: str) -> dict[str, float]:
        """Mean of `dice` or `hd95_mm` for each label, over the cases where it is defined and finite."""
        names = self.per_case[0][metric] if self.per_case else {}
        return {name: _mean([case[metric][name] for case in self.per_case]) for name in names}

    @property
    def dice(self) -> dict[str, float]:
        """Mean Dice of each label."""
        return self.mean("dice")

    @property
    def dice_mean(self) -> float:
        """Mean Dice over labels, then cases."""
        return _mean(list(self.dice.values()))

    @property
    def hd95_mean(self) -> float:
        """Mean 95 % Hausdorff distance over labels, mm; cases where a label was missed altogether are not in it."""
        return _mean(list(self.mean("hd95_mm").values()))

    @property
    def seconds(self) -> float:
        """Median seconds a case, reading not counted."""
        return float(np.median([case["seconds"] for case in self.per_case])) if self.per_case else math.nan

    def as_dict(self) -> dict[str, Any]:
        """For JSON: values that are not finite become None."""
        missed = sum(math.isinf(v) for case in self.per_case for v in case["hd95_mm"].values())
        return jsonable(
            {
                "cases": len(self.per_case), "skipped": self.skipped,
                "dice_mean": self.dice_mean, "dice": self.dice,
                "hd95_mm_mean": self.hd95_mean, "hd95_mm": self.mean("hd95_mm"),
                "labels_missed": missed, "seconds_per_case": self.seconds, "per_case": self.per_case,
            }
        )  # fmt: skip


def evaluate(
    model_dir: Path | str,
    cases: Sequence[Case],
    monitor: Monitor = Monitor(),
    test_time_augmentation: bool = True,
    device: str = "cpu",
) -> Report:
    """Measures the model in `model_dir` on `cases`.

    Raises:
        ModelNotAvailable: no usable weights. VolumeError: a case cannot be read. Cancelled: from the monitor.
    """
    return evaluate_segmenter(Segmenter(model_dir, device), cases, monitor, test_time_augmentation)


def evaluate_segmenter(
    segmenter: Segmenter,
    cases: Sequence[Case],
    monitor: Monitor = Monitor(),
    test_time_augmentation: bool = True,
) -> Report:
    """Measures a model in memory. A large image is prompted with a point in the middle of each labelled organ."""
    report = Report([])
    for number, case in enumerate(cases):
        monitor.check()
        measured = _measure(segmenter, case, test_time_augmentation)
        if measured is None:
            report.skipped.append(case.id)
        else:
            report.per_case.append(measured)
        monitor.report(case=case.id, progress=(number + 1) / len(cases))
    return report


def reference_cases(model_dir: Path | str) -> list[Case]:
    """The small freely licensed cases that ship beside a model's versions; empty if there are none."""
    folder = Path(model_dir).parent / REFERENCE_FOLDER
    return find_cases(folder) if folder.is_dir() else []


def _measure(segmenter: Segmenter, case: Case, average: bool) -> dict[str, Any] | None:
    image, truth = load_case(case, segmenter.spec)
    large = not is_small(CanonicalGrid(image, segmenter.settings.spacing), segmenter.settings)
    started = time.perf_counter()
    points = organ_points(truth) if large else ()
    if large and not points:
        return None
    found = segmenter(image, points=points, test_time_augmentation=average)
    seconds = time.perf_counter() - started
    metrics = label_metrics(found.label.array, truth.array, segmenter.spec.labels, image.spacing)
    return {"id": case.id, **metrics, "seconds": seconds, "prompted": large}


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else math.nan


def jsonable(value: Any) -> Any:
    """Measurements for JSON: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [jsonable(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Measuring corrections: a simulated clinician clicks in the middle of the largest error, again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.data.cases import Case
from trainers.data.volumes import Volume
from trainers.metrics import mean_dice
from trainers.monitor import Monitor
from trainers.preprocess import CanonicalGrid
from trainers.tasks.segmentation.clicks import Click
from trainers.tasks.segmentation.errors import correct
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.regions import is_small
from trainers.tasks.segmentation.samples import load_case, organ_points

POOR = 0.75  # Dice below which a segmentation has to be corrected in any case
GOOD = 0.90


@dataclass(frozen=True)
class Curve:
    """One case: mean Dice over labels before the first click and after each, and seconds of each look."""

    id: str
    dice: list[float]
    seconds: list[float]

    def clicks_to(self, wanted: float) -> int | None:
        """How many clicks reach a Dice; None if these do not."""
        return next((number for number, value in enumerate(self.dice) if value >= wanted), None)


def measure_clicks(
    segmenter: Segmenter,
    case: Case,
    clicks: int,
    spoil: Callable[[Volume], Volume] = lambda image: image,
    average: bool = False,
) -> Curve:
    """Segments a case, then corrects it by one click after another. Clicks end early if nothing is wrong.

    Args:
        segmenter: a model that takes clicks.
        case: with its true label.
        clicks: how many.
        spoil: makes the image harder first.
        average: several views of the image.
    """
    image, truth = load_case(case, segmenter.spec)
    image = spoil(image)
    small = is_small(CanonicalGrid(image, segmenter.settings.spacing), segmenter.settings)
    points = () if small else organ_points(truth)
    given: list[Click] = []
    curve = Curve(case.id, [], [])
    for _ in range(clicks + 1):
        started = time.perf_counter()
        found = segmenter(image, points=points, clicks=given, test_time_augmentation=average).label.array
        curve.seconds.append(time.perf_counter() - started)
        curve.dice.append(mean_dice(found, truth.array, segmenter.spec.labels))
        mark = correct(found, truth.array)
        if mark is None:
            break
        place = truth.affine @ [*mark.voxels[0], 1.0]
        given.append(Click(mark.index, (tuple(float(v) for v in place[:3]),)))  # type: ignore[arg-type]
    return curve


def click_report(
    segmenter: Segmenter,
    cases: Sequence[Case],
    clicks: int,
    spoil: Callable[[Volume], Volume] = lambda image: image,
    average: bool = False,
    monitor: Monitor = Monitor(),
) -> dict[str, Any]:
    """What corrections are worth.

    Returns:
        `dice`: mean after 0, 1, … clicks of all cases, `poor`: of those that began below `POOR`, with their number as
        `poor_cases`; `reached`: share of cases that reach `GOOD` and the median of the clicks that these needed;
        `seconds`: median of one look; `per_case`.
    """
    curves = []
    for number, case in enumerate(cases):
        monitor.check()
        curves.append(measure_clicks(segmenter, case, clicks, spoil, average))
        monitor.report(case=case.id, progress=(number + 1) / len(cases))
    poor = [curve for curve in curves if curve.dice[0] < POOR]
    reached = [count for count in (curve.clicks_to(GOOD) for curve in curves) if count is not None]
    return {
        "cases": len(curves),
        "dice": _mean_by_click(curves, clicks),
        "poor_cases": len(poor),
        "poor": _mean_by_click(poor, clicks),
        "reached": {
            "dice": GOOD,
            "share": len(reached) / len(curves) if curves else math.nan,
            "median_clicks": float(np.median(reached)) if reached else math.nan,
        },
        "seconds": float(np.median([s for curve in curves for s in curve.seconds])) if curves else math.nan,
        "per_case": [{"id": c.id, "dice": c.dice, "seconds": c.seconds} for c in curves],
    }


def _mean_by_click(curves: Sequence[Curve], clicks: int) -> list[float]:
    """Mean Dice after each click; a case where nothing was left to correct stays as it was."""
    if not curves:
        return []
    padded = [curve.dice + [curve.dice[-1]] * (clicks + 1 - len(curve.dice)) for curve in curves]
    return [float(v) for v in np.mean(padded, axis=0)]

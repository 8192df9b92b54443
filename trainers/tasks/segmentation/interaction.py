"""Measuring what a model that can be corrected promises: what clicks are worth, and how true its expected Dice is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from trainers.data.cases import Case, hash_fraction
from trainers.data.volumes import Volume
from trainers.metrics import mean_dice
from trainers.monitor import Monitor
from trainers.tasks.segmentation.clicking import POOR, Curve, corrected, measure_clicks
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.judging import CORRECTED, spoiled
from trainers.tasks.segmentation.samples import load_case

STRENGTHS = (0.0, 0.3, 0.6)
GOOD = 0.90


def click_report(
    segmenter: Segmenter,
    cases: Sequence[Case],
    clicks: int,
    strength: float = 0.0,
    monitor: Monitor = Monitor(),
    aimed: bool = True,
) -> dict[str, Any]:
    """What corrections are worth.

    Args:
        segmenter: a model that takes clicks.
        cases: with their true labels.
        clicks: of each, after each of which the model looks again.
        strength: by which images are spoiled first, 0 to 1, each in its own way.
        monitor: hears of each case; may cancel.
        aimed: into the middle of the largest error; else somewhere well inside any, by chance and size.

    Returns:
        `dice`: mean after 0, 1, … clicks of all cases, `poor`: of those that began below `POOR`, with their number as
        `poor_cases`; `reached`: share of cases that reach `GOOD` and the median of the clicks that these needed;
        `seconds`: median of one look; `per_case`.
    """
    curves = []
    for number, case in enumerate(cases):
        monitor.check()
        random = None if aimed else np.random.default_rng(_seed(case))
        spoil = partial(_spoil, case=case, strength=strength)
        curves.append(measure_clicks(segmenter, case, clicks, spoil, random=random))
        monitor.report(case=case.id, progress=(number + 1) / len(cases))
    poor = [curve for curve in curves if curve.dice[0] < POOR]
    reached = [count for count in (curve.clicks_to(GOOD) for curve in curves) if count is not None]
    return {
        "cases": len(curves),
        "strength": strength,
        "dice": _mean_by_click(curves, clicks),
        "poor_cases": len(poor),
        "poor": _mean_by_click(poor, clicks),
        "reached": {
            "dice": GOOD,
            "share": len(reached) / len(curves) if curves else None,
            "median_clicks": float(np.median(reached)) if reached else None,
        },
        "seconds": float(np.median([s for curve in curves for s in curve.seconds])) if curves else None,
        "per_case": [{"id": c.id, "dice": c.dice, "seconds": c.seconds} for c in curves],
    }


def quality_report(
    segmenter: Segmenter,
    cases: Sequence[Case],
    strengths: Sequence[float] = STRENGTHS,
    average: bool = True,
    monitor: Monitor = Monitor(),
) -> dict[str, Any]:
    """How true the expected Dice is, on images as they are and spoiled.

    Returns:
        `all`, `untouched` and, of a model that takes clicks, `corrected`, of one view before and after two clicks: each
        with `labels`, `correlation`, `rank_correlation`, `mean_error`, `within`: how many, Pearson's and Spearman's
        correlation of expected and true Dice, mean absolute error, the share of true values within the told interval,
        which promises 0.8; and `per_label`.
    """
    rows = []
    for number, case in enumerate(cases):
        monitor.check()
        image, truth = load_case(case, segmenter.spec)
        for strength in strengths:
            hard = _spoil(image, case, strength)
            seen = [("", segmenter(hard, test_time_augmentation=average))]
            if segmenter.spec.clicks:
                seen += [("corrected", found) for found in corrected(segmenter, hard, truth, CORRECTED)]
            for kind, found in seen:
                if found.quality is not None:
                    dice = mean_dice(found.label.array, truth.array, segmenter.spec.labels)
                    told = {k: getattr(found.quality, k) for k in ("expected_dice", "low", "high")}
                    rows.append({"id": case.id, "strength": strength, "kind": kind, "dice": dice, **told})
        monitor.report(case=case.id, progress=(number + 1) / len(cases))
    plain = [row for row in rows if not row["kind"]]
    groups = {"all": plain, "untouched": [row for row in plain if row["strength"] == 0]}
    if segmenter.spec.clicks:
        groups["corrected"] = [row for row in rows if row["kind"]]
    return {**{name: _agreement(members) for name, members in groups.items()}, "per_label": rows}


def metrics_of(segmenter: Segmenter, cases: Sequence[Case], monitor: Monitor = Monitor()) -> dict[str, dict[str, Any]]:
    """The figures of corrections and expected Dice for a spec and its card."""
    clicks = click_report(segmenter, cases, 3, 1.0, monitor)
    agreement = quality_report(segmenter, cases, monitor=monitor)["all"]
    found = {}
    if clicks["poor"]:
        gain, count = clicks["poor"][3] - clicks["poor"][0], clicks["poor_cases"]
        note = f"{count} spoiled images of test patients that began below Dice {POOR}"
        found["dice_gained_by_3_clicks"] = {"value": round(gain, 4), "higher_is_better": True, "note": note}
    if math.isfinite(agreement["correlation"]):
        note = f"expected with true Dice, {agreement['labels']} images of test patients, some spoiled"
        value = round(agreement["correlation"], 3)
        found["expected_dice_correlation"] = {"value": value, "higher_is_better": True, "best": 1.0, "note": note}
    return found


def _agreement(every: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the images that have a Dice: without a label in truth and result there is none."""
    rows = [row for row in every if math.isfinite(row["dice"])]
    true, told = (np.array([row[key] for row in rows], float) for key in ("dice", "expected_dice"))
    if len(rows) < 3 or true.std() == 0 or told.std() == 0:
        nothing = dict.fromkeys(("correlation", "rank_correlation", "mean_error", "within"), math.nan)
        return {"labels": len(rows), **nothing}
    inside = [row["low"] <= row["dice"] <= row["high"] for row in rows]
    return {
        "labels": len(rows),
        "correlation": float(stats.pearsonr(told, true).statistic),
        "rank_correlation": float(stats.spearmanr(told, true).statistic),
        "mean_error": float(np.abs(told - true).mean()),
        "within": float(np.mean(inside)),
    }


def _spoil(image: Volume, case: Case, strength: float) -> Volume:
    """The same image is spoiled in the same way each time."""
    return spoiled(image, strength, _seed(case))


def _seed(case: Case) -> int:
    return int(2**31 * hash_fraction(case.id))


def _mean_by_click(curves: Sequence[Curve], clicks: int) -> list[float]:
    """Mean Dice after each click; a case where nothing was left to correct stays as it was."""
    padded = [curve.dice + [curve.dice[-1]] * (clicks + 1 - len(curve.dice)) for curve in curves]
    padded = [row for row in padded if all(map(math.isfinite, row))]  # without any label there is no Dice
    if not padded:
        return []
    return [float(v) for v in np.mean(padded, axis=0)]

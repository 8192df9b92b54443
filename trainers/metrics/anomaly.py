"""How well a score tells abnormal images, or voxels, from normal ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.metrics import membership
from trainers.metrics.intervals import Estimate

Array = npt.NDArray[Any]
SPECIFICITY = 0.95
CUTS = 200


def auroc(normal: Array, abnormal: Array) -> float:
    """Chance that an abnormal one has the higher score, ties half: Hanley and McNeil, Radiology 1982, section III."""
    return membership.auroc(abnormal, normal)


def average_precision(normal: Array, abnormal: Array) -> float:
    """Area under precision over recall, a step at each score: Davis and Goadrich, ICML 2006, without interpolation."""
    scores = np.concatenate([normal, abnormal])
    truth = np.r_[np.zeros(len(normal)), np.ones(len(abnormal))]
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(truth[order])
    last = np.r_[np.flatnonzero(np.diff(scores)), len(scores) - 1]  # of each run of equal scores
    recall = found[last] / len(abnormal)
    precision = found[last] / (last + 1)
    return float((np.diff(np.r_[0, recall]) * precision).sum())


def sensitivity(normal: Array, abnormal: Array, specificity: float = SPECIFICITY) -> float:
    """Share of abnormal ones above the score that leaves at least that share of the normal ones below or at it."""
    return membership.true_positive_rate(abnormal, normal, round(1 - specificity, 9))


FIGURES: Mapping[str, Callable[[Array, Array], float]] = {
    "auroc": auroc,
    "auprc": average_precision,
    "sensitivity_at_95_specificity": sensitivity,
}


def image_figures(normal: Array, abnormal: Array, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """All figures of scores of images, with 95 % bootstrap intervals over images, normal and abnormal apart.

    Args:
        normal: (n,).
        abnormal: (m,).
        replicates: of the bootstrap.
        seed: of chance.

    Raises:
        ValueError: fewer than 2 of either.
    """
    normal, abnormal = np.asarray(normal, np.float64), np.asarray(abnormal, np.float64)
    if min(len(normal), len(abnormal)) < 2:
        raise ValueError(f"There are {len(normal)} normal and {len(abnormal)} abnormal images; at least 2 are needed.")
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(replicates):
        a, b = (x[random.integers(len(x), size=len(x))] for x in (normal, abnormal))
        drawn.append([figure(a, b) for figure in FIGURES.values()])
    columns = np.array(drawn).T
    return {
        name: Estimate.of(column, figure(normal, abnormal))
        for (name, figure), column in zip(FIGURES.items(), columns, strict=True)
    }


def dice(found: Array, mask: Array) -> float:
    """Overlap of two masks, 1 if both are empty: Dice, Ecology 1945."""
    total = int(found.sum()) + int(mask.sum())
    return 2 * int((found & mask).sum()) / total if total else 1.0


def best_dice(heat: Array, mask: Array) -> tuple[float, float]:
    """The largest Dice over thresholds of a map, and the threshold: what localisation could reach, not what it does.

    Thresholds are `CUTS` quantiles of the map. Baur et al., "Autoencoders for unsupervised anomaly segmentation in
    brain MR images", Medical Image Analysis 2021, section 4.3, name it the theoretically best possible one.
    """
    cuts = np.unique(np.quantile(heat, 1 - np.geomspace(1 / heat.size, 1, CUTS)))
    scores = [dice(heat > cut, mask) for cut in cuts]
    best = int(np.argmax(scores))
    return scores[best], float(cuts[best])

"""Figures of anomaly scores against values by hand and against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from trainers.metrics.anomaly import auroc, average_precision, best_dice, dice, image_figures, sensitivity

SCORES = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=30).map(np.array)


@given(SCORES, SCORES)
def test_areas_are_those_of_scikit_learn(normal: np.ndarray, abnormal: np.ndarray) -> None:
    truth, scores = np.r_[np.zeros(len(normal)), np.ones(len(abnormal))], np.r_[normal, abnormal]
    assert auroc(normal, abnormal) == pytest.approx(roc_auc_score(truth, scores))
    assert average_precision(normal, abnormal) == pytest.approx(average_precision_score(truth, scores))


def test_sensitivity_by_hand() -> None:
    normal = np.arange(20.0)
    assert sensitivity(normal, np.array([17.0, 18.0, 18.5, 30.0])) == 0.5, "one of twenty may be above: 18 is the cut"
    assert sensitivity(np.zeros(5), np.zeros(5)) == 0


def test_intervals_hold_the_figure() -> None:
    random = np.random.default_rng(0)
    found = image_figures(random.normal(size=60), random.normal(1.5, size=40), replicates=200)
    assert list(found) == ["auroc", "auprc", "sensitivity_at_95_specificity"]
    assert all(e.low <= e.value <= e.high and e.low < e.high for e in found.values())
    assert 0.75 < found["auroc"].value < 0.95
    with pytest.raises(ValueError, match="at least 2"):
        image_figures(np.zeros(1), np.zeros(5))


def test_dice_and_its_best_threshold() -> None:
    heat = np.zeros((10, 10))
    heat[2:4, 2:4], heat[7, 7] = 3.0, 1.0
    mask = heat == 3
    assert dice(heat > 0.5, mask) == pytest.approx(8 / 9) and dice(mask & False, mask & False) == 1
    best, cut = best_dice(heat, mask)
    assert best == 1 and 1 <= cut < 3

"""A threshold keeps its promise on healthy patients, and says so when it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.tasks.anomaly.calibration import Calibration, CalibrationError


def test_by_hand() -> None:
    known = Calibration.of([3, 1, 2, 4, 5, 6, 7, 8, 9])
    assert known.chance(10) == 0.1 and known.rarity(10) == 10, "higher than all nine: 1 of 10 at most"
    assert known.chance(9) == 0.2 and known.rarity(0) == 1
    assert known.threshold(0.1) == 9 and known.threshold(0.2) == 8
    with pytest.raises(CalibrationError, match=r"9 healthy patients cannot promise .* 0\.05: 19 can"):
        known.threshold(0.05)


@given(st.lists(st.integers(0, 50), min_size=20, max_size=80), st.sampled_from([0.05, 0.1, 0.3]))
def test_at_most_that_share_of_the_patients_themselves_exceeds_it(scores: list[int], rate: float) -> None:
    known = Calibration.of(scores)
    assert np.mean(np.array(scores) > known.threshold(rate)) <= rate
    assert known.chance(known.threshold(rate) + 0.5) <= rate + 1e-9, "what exceeds it is as rare as promised"


def test_the_promise_holds_for_others_on_average() -> None:
    random, exceeded = np.random.default_rng(0), []
    for _ in range(400):
        scores = random.normal(size=60)
        exceeded.append((scores[30:] > Calibration.of(scores[:30]).threshold(0.1)).mean())
    assert 0.07 < np.mean(exceeded) <= 0.105


def test_it_is_stored_and_found_again() -> None:
    known = Calibration.of([0.25, 1.5])
    assert Calibration.from_dict(known.as_dict()) == known


@pytest.mark.parametrize("scores", [[], [1.0, np.nan]])
def test_what_is_none_is_told(scores: list[float]) -> None:
    with pytest.raises(CalibrationError, match="finite"):
        Calibration.of(scores)
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        Calibration.of([1]).threshold(1.0)

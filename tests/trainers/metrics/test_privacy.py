"""The audit passes independent images, and catches copies, near-copies, a few copies, and those who were trained on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.metrics.intervals import Estimate
from trainers.metrics.membership import FEWEST_FOR_RATE, attack, auroc, true_positive_rate
from trainers.metrics.neighbours import Ratios, copies, nearest_other
from trainers.metrics.privacy import RULES, PrivacyReport, SpaceAudit, audit


def people(n: int, seed: int, d: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


TRAIN, HELD_OUT = people(300, 0), people(150, 1)


@pytest.fixture(scope="module")
def independent() -> PrivacyReport:
    return audit(TRAIN, HELD_OUT, people(200, 2))


@pytest.fixture(scope="module")
def copied() -> PrivacyReport:
    return audit(TRAIN, HELD_OUT, TRAIN)


def test_independent_images_pass(independent: PrivacyReport) -> None:
    space = independent.spaces["features"]
    assert independent.passed and all(independent.verdicts.values())
    assert space.synthetic.median.value == pytest.approx(1, abs=0.06)
    assert space.real.median.value == pytest.approx(1, abs=0.06)
    assert space.membership.auroc.value == pytest.approx(0.5, abs=0.07)
    assert space.synthetic_copies.duplicates == 0 and space.synthetic_copies.near.value < 0.03


def test_a_generator_that_returns_its_training_images_fails_everywhere(copied: PrivacyReport) -> None:
    space = copied.spaces["features"]
    assert not copied.passed and not any(copied.verdicts.values())
    assert space.synthetic.whole.value < 1e-6 and space.synthetic.low.value < 1e-6
    assert space.membership.auroc.value == 1.0 and space.membership.tpr is not None
    assert space.membership.tpr.value == 1.0
    assert space.synthetic_copies.duplicates == 300 and space.synthetic_copies.near.value == 1.0
    assert space.real_copies.duplicates == 0


def test_slightly_changed_copies_fail_everywhere() -> None:
    report = audit(TRAIN, HELD_OUT, TRAIN[:200] + 0.4 * people(200, 3))
    assert not any(report.verdicts.values())
    assert report.spaces["features"].synthetic_copies.duplicates == 0


def test_a_tenth_of_copies_is_found() -> None:
    report = audit(TRAIN, HELD_OUT, np.concatenate([people(180, 4), TRAIN[:20]]))
    assert report.spaces["features"].synthetic_copies.duplicates == 20
    assert not report.verdicts["no_copies"] and not report.verdicts["no_memorisation"]


def test_copies_of_held_out_images_are_no_leak_of_training_images() -> None:
    space = audit(TRAIN, HELD_OUT, HELD_OUT).spaces["features"]
    assert space.synthetic.low.value > 1e6 and space.membership.auroc.value == 0.0
    assert all(space.verdicts.values())


def test_a_larger_training_set_alone_is_not_taken_for_memorising() -> None:
    report = audit(people(2000, 5), people(100, 6), people(300, 7))
    assert report.spaces["features"].synthetic.median.value == pytest.approx(1, abs=0.08)
    assert report.verdicts["no_memorisation"]


def test_false_alarms_are_rare() -> None:
    passed = [audit(people(120, 3 * s), people(60, 3 * s + 1), people(100, 3 * s + 2), 50).passed for s in range(12)]
    assert sum(passed) >= 10


@pytest.mark.parametrize(
    ("made", "real", "passes"),
    [(1.0, 1.18, True), (0.89, 1.18, False), (0.91, 1.0, True), (0.75, 0.8, True), (0.7, 0.8, False)],
)
def test_the_median_ratio_must_reach_that_of_independent_images(made: float, real: float, passes: bool) -> None:
    """Theirs is 1 unless the sets are unlike; what is above by chance is not asked of synthetic images."""

    def ratios(value: float) -> Ratios:
        return Ratios(*[Estimate(value, value - 0.3, value + 0.3)] * 3)

    few = copies(np.ones((50, 9)), np.ones(9))
    space = SpaceAudit(ratios(made), ratios(real), few, few, attack(np.arange(50.0), np.arange(50.0)))
    assert space.verdicts["no_memorisation"] == passes


def test_every_space_must_pass_and_may_have_any_shape(independent: PrivacyReport) -> None:
    def spaces(rows: np.ndarray, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {"features": rows, "pixels": pixels.reshape(-1, 1, 3, 4)}

    report = audit(spaces(TRAIN, TRAIN), spaces(HELD_OUT, HELD_OUT), spaces(people(200, 2), TRAIN[:200]))
    assert all(report.spaces["features"].verdicts.values())
    assert not any(report.spaces["pixels"].verdicts.values()) and not report.passed
    assert report.spaces["features"] == independent.spaces["features"]


def test_the_report_is_json_and_plain_english(independent: PrivacyReport, copied: PrivacyReport) -> None:
    told = json.loads(json.dumps(copied.as_dict(), allow_nan=False))
    assert told["passed"] is False and told["verdicts"].keys() == RULES.keys() == told["rules"].keys()
    assert told["images"] == {"train": 300, "held_out": 150, "synthetic": 300}
    assert told["spaces"]["features"]["membership"]["auroc"]["value"] == 1.0
    good, bad = independent.sentences(), copied.sentences()
    assert good[0].startswith("Privacy audit passed: 200 synthetic, 300 training and 150 held-out")
    assert bad[0].startswith("Privacy audit FAILED")
    assert "no nearer to training images" in good[1] and "NEARER to training images" in bad[1]
    assert "100.0% of synthetic images are near-copies" in bad[2] and "300 are duplicates" in bad[2]
    assert "no leak shown" in good[3] and "a LEAK" in bad[3]
    assert "cannot prove" in good[-1]


def test_it_repeats_with_a_seed(independent: PrivacyReport) -> None:
    assert audit(TRAIN, HELD_OUT, people(200, 2)) == independent
    assert audit(TRAIN, HELD_OUT, people(200, 2), seed=1) != independent


def test_too_few_or_unlike_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="19 held-out images; an audit needs at least 20"):
        audit(TRAIN, HELD_OUT[:19], TRAIN)
    with pytest.raises(ValueError, match="unlike spaces"):
        audit({"a": TRAIN}, {"b": HELD_OUT}, {"a": TRAIN})
    with pytest.raises(ValueError, match=r"spaces of train have unlike numbers of images: \[299, 300\]"):
        audit({"a": TRAIN, "b": TRAIN[1:]}, {"a": HELD_OUT, "b": HELD_OUT}, {"a": TRAIN, "b": TRAIN})
    with pytest.raises(ValueError, match="from one encoder"):
        audit(TRAIN, HELD_OUT[:, :3], TRAIN)
    with pytest.raises(ValueError, match="not finite"):
        audit(TRAIN, HELD_OUT, np.where(TRAIN > 2, np.nan, TRAIN))


def test_auroc_by_hand() -> None:
    assert auroc(np.array([3.0, 1.0]), np.array([2.0, 0.0])) == 0.75
    assert auroc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12), st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_auroc_is_the_share_of_right_pairs(positive: list[int], negative: list[int]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(np.mean(pairs))


def test_true_positive_rate_by_hand() -> None:
    negative = np.arange(200.0)  # at most 2 may be above the threshold: it is 197
    assert true_positive_rate(np.array([196.0, 197.0, 198.0, 500.0]), negative) == 0.5


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_false_alarms_are_at_most_what_was_asked(seed: int) -> None:
    negative = np.random.default_rng(seed).integers(0, 50, 130).astype(float)
    assert true_positive_rate(negative, negative) <= 0.01


def test_no_rate_is_claimed_that_few_images_cannot_show() -> None:
    members, others = np.linspace(0, 1, 50), np.linspace(0.5, 1.5, FEWEST_FOR_RATE)
    assert attack(members, others[1:]).tpr is None
    assert attack(members, others).tpr is not None
    with pytest.raises(ValueError, match="1 members and 5 others"):
        attack(members[:1], others[:5])


def test_the_interval_of_the_attack_is_wide_for_few_images() -> None:
    few, many = (attack(people(n, 0, 1)[:, 0], people(n, 1, 1)[:, 0]).auroc for n in (20, 500))
    assert few.high - few.low > 3 * (many.high - many.low)
    # Hanley and McNeil: at 0.5 the standard error is sqrt((2 n + 1) / (12 n^2))
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(1001 / 12 / 500**2), rel=0.15)


def test_copies_by_hand() -> None:
    train = np.arange(0.0, 101.0)[:, None]  # every neighbour is 1 away
    to_train = np.abs(np.array([[5.0], [5.5], [200.0], [7.00001]]) - train.T)
    got = copies(to_train, nearest_other(train))
    assert (got.images, got.duplicates, got.near.value) == (4, 2, 0.75)
    assert got.near.low < 0.75 < got.near.high


def test_nearest_other_skips_oneself_but_not_a_twin() -> None:
    rows = np.array([[0.0], [0.0], [3.0]])
    np.testing.assert_allclose(nearest_other(rows, batch=2), [0, 0, 3], atol=1e-6)

"""KID, MMD and FID against values worked out by hand and against known Gaussians."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.metrics.coverage import precision_recall_density_coverage
from trainers.metrics.distribution import distances, fid, kid, mmd
from trainers.metrics.diversity import ms_ssim_diversity, scales
from trainers.metrics.generation import fidelity
from trainers.metrics.intervals import Estimate, bootstrap_mean, compare, floor


def normal(n: int, d: int = 4, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).normal(size=(n, d))


def test_kid_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    # kernels (xy + 1)^3: within real 1, within fake 7^3, between (1, 1, 27, 64)
    expected = 1 + 343 - 2 * (1 + 1 + 27 + 64) / 4
    assert kid(real, fake, subsets=3, subset_size=2) == pytest.approx((expected, 0.0))


def test_kid_is_unbiased_for_equal_distributions() -> None:
    scores = [kid(normal(40, seed=i), normal(40, seed=1000 + i), 1, 40).mean for i in range(200)]
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(len(scores))


def test_kid_of_known_gaussians() -> None:
    """In one dimension E(xy + 1)^3 = 1 + 3 E(xy) + 3 E(x^2 y^2) + E(x^3 y^3), from the moments."""

    def moments(mean: float) -> tuple[float, float, float]:
        return mean, mean**2 + 1, mean**3 + 3 * mean

    def expected(a: float, b: float) -> float:
        (a1, a2, a3), (b1, b2, b3) = moments(a), moments(b)
        return 1 + 3 * a1 * b1 + 3 * a2 * b2 + a3 * b3

    truth = expected(0, 0) + expected(0.5, 0.5) - 2 * expected(0, 0.5)
    measured = kid(normal(3000, 1), normal(3000, 1, 0.5, seed=1), subsets=1, subset_size=3000).mean
    assert measured == pytest.approx(truth, rel=0.15)


def test_kid_repeats_with_a_seed_and_is_symmetric_on_whole_sets() -> None:
    a, b = normal(60), normal(60, mean=0.3, seed=1)
    assert kid(a, b, seed=3) == kid(a, b, seed=3) != kid(a, b, seed=4)
    assert kid(a, b, 1, 60).mean == pytest.approx(kid(b, a, 1, 60).mean)


def test_mmd_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    k = {0: 1.0, 1: np.exp(-0.5), 2: np.exp(-2.0)}
    assert mmd(real, fake, bandwidth=1.0) == pytest.approx(k[1] + k[2] - 2 * (k[0] + k[2] + k[1] + k[1]) / 4)


def test_mmd_of_known_gaussians() -> None:
    """E k between N(a, 1) and N(b, 1), with bandwidth s, is s / sqrt(s^2 + 2) exp(-(a - b)^2 / (2 (s^2 + 2)))."""
    s, gap = 1.5, 1.0
    truth = 2 * s / np.sqrt(s**2 + 2) * (1 - np.exp(-(gap**2) / (2 * (s**2 + 2))))
    assert mmd(normal(2000, 1), normal(2000, 1, gap, seed=1), s) == pytest.approx(truth, rel=0.1)


def test_mmd_does_not_depend_on_the_unit() -> None:
    a, b = normal(50), normal(60, mean=0.5, seed=1)
    assert mmd(a, b) == pytest.approx(mmd(100 * a, 100 * b), rel=1e-6)


def test_fid_of_known_gaussians() -> None:
    """Between N(0, I) and N(m, s^2 I) in d dimensions it is d m^2 + d (1 - s)^2."""
    assert fid(normal(20_000), normal(20_000, 4, 1.0, 2.0, 1)) == pytest.approx(4 * (1 + 1), rel=0.03)


def test_fid_with_covariances_that_do_not_commute() -> None:
    rng = np.random.default_rng(0)
    a, b = normal(300, 3) @ rng.normal(size=(3, 3)), normal(200, 3, seed=1) @ rng.normal(size=(3, 3))
    from scipy.linalg import sqrtm

    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    truth = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert fid(a, b) == pytest.approx(truth, rel=1e-6)


def test_fid_of_a_set_with_itself_is_nil_and_turning_both_changes_nothing() -> None:
    a, b = normal(50), normal(60, mean=1, seed=1)
    turn = np.linalg.qr(normal(4))[0]
    assert fid(a, a) == pytest.approx(0, abs=1e-9)
    assert fid(a @ turn, b @ turn) == pytest.approx(fid(a, b))


def test_fid_of_too_few_images_is_refused_with_a_reason() -> None:
    with pytest.warns(UserWarning, match="4 images for 4 features; use KID"):
        assert fid(normal(4), normal(100)) is None
    assert fid(normal(5), normal(5, seed=1)) is not None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.4, 0.8))  # far apart, the kernel of MMD sees no difference any more
def test_all_distances_grow_with_the_gap(seed: int, gap: float) -> None:
    a, near, far = normal(60, seed=seed), normal(60, mean=gap, seed=seed + 1), normal(60, mean=3 * gap, seed=seed + 1)
    for metric in (lambda x, y: kid(x, y, 1, 60).mean, mmd, fid):
        assert metric(a, near) < metric(a, far)


def test_balls_by_hand() -> None:
    # k = 1: radii of real 0, 1, 3 are 1, 1, 2; of fake 2.5, 10, 11 they are 7.5, 1, 1
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[2.5], [10.0], [11.0]])
    got = precision_recall_density_coverage(real, fake, k=1)
    # 2.5 lies in the ball of 3 alone; all real ones lie in the ball of 2.5; one real of three is covered
    assert got == pytest.approx({"precision": 1 / 3, "recall": 1.0, "density": 1 / 3, "coverage": 1 / 3})


def test_balls_include_their_edge() -> None:
    got = precision_recall_density_coverage(np.array([[0.0], [1.0]]), np.array([[2.0], [9.0]]), k=1)
    assert got["precision"] == 0.5


def test_dropping_a_mode_costs_recall_and_coverage_but_not_precision() -> None:
    real = np.concatenate([normal(200), normal(200, mean=20, seed=1)])
    whole = np.concatenate([normal(200, seed=2), normal(200, mean=20, seed=3)])
    full = precision_recall_density_coverage(real, whole)
    half = precision_recall_density_coverage(real, normal(400, seed=4))
    assert half["precision"] > 0.9 and full["coverage"] > 0.9 and full["density"] == pytest.approx(1, abs=0.15)
    assert half["recall"] < 0.55 and half["coverage"] < 0.55


def test_copies_have_full_precision_and_coverage_and_far_images_none() -> None:
    real = normal(50)
    copied = precision_recall_density_coverage(real, real)
    assert all(copied[name] == 1 for name in ("precision", "recall", "coverage"))
    assert set(precision_recall_density_coverage(real, real + 100).values()) == {0.0}


def test_order_of_images_does_not_matter() -> None:
    real, fake = normal(30), normal(25, mean=0.5, seed=1)
    shuffled = np.random.default_rng(0).permutation(real)
    assert precision_recall_density_coverage(shuffled, fake) == precision_recall_density_coverage(real, fake)
    assert mmd(shuffled, fake) == pytest.approx(mmd(real, fake))
    assert fid(shuffled, fake) == pytest.approx(fid(real, fake))


def test_distances_match_the_definition() -> None:
    a, b = normal(5), normal(3, seed=1)
    np.testing.assert_allclose(distances(a, b), np.linalg.norm(a[:, None] - b[None], axis=2))
    assert (np.diag(distances(a, a)) < 1e-6).all()


@pytest.mark.parametrize("metric", [kid, mmd, fid, precision_recall_density_coverage, fidelity])
def test_bad_features_are_refused(metric: object) -> None:
    good = normal(20)
    broken = good.copy()
    broken[3, 1] = np.nan
    cases = {
        "give \\(n, d\\)": (good, good[0]), "at least": (good, good[:1]), "not finite": (broken, good),
        "from one encoder": (good, good[:, :2]),
    }  # fmt: skip
    for message, pair in cases.items():
        with pytest.raises(ValueError, match=message):
            metric(*pair)  # type: ignore[operator]


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="from 2 to 10"):
        kid(normal(10), normal(20), subset_size=11)
    with pytest.raises(ValueError, match="more than k images"):
        precision_recall_density_coverage(normal(5), normal(20), k=5)
    with pytest.raises(ValueError, match="at least 4"):
        compare(lambda a, b: {}, normal(3), normal(9))
    with pytest.raises(ValueError, match="at least 2 numbers"):
        bootstrap_mean(np.ones(1))


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    scores = normal(400, 1)[:, 0]
    got = bootstrap_mean(scores)
    error = scores.std() / 20
    assert got.value == pytest.approx(scores.mean())
    assert (got.low, got.high) == pytest.approx((got.value - 1.96 * error, got.value + 1.96 * error), abs=0.3 * error)


def test_intervals_of_halves_are_those_of_the_whole_set() -> None:
    """The difference of means of 200 and 200 has a standard error of sqrt(2 / 200)."""
    difference = compare(lambda a, b: {"gap": float((b - a).mean())}, normal(200, 1), normal(200, 1, 1, seed=1), 400)
    made, real = difference["gap"]
    assert made.low < 1 < made.high and real.low < 0 < real.high
    assert made.high - made.low == pytest.approx(2 * 1.96 * np.sqrt(2 / 200), rel=0.2)


def test_the_floor_is_measured_on_disjoint_halves_of_one_size() -> None:
    seen = []

    def record(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        seen.append((len(a), len(b)))
        assert not set(a[:, 0]) & set(b[:, 0])
        return {"size": len(a)}

    assert floor(record, normal(21), replicates=3)["size"] == Estimate(10, 10, 10)
    assert set(seen) == {(10, 10)}


def test_a_good_generator_is_at_its_floor_and_a_bad_one_is_not() -> None:
    real = normal(300)
    good, bad = fidelity(real, normal(300, seed=1)), fidelity(real, normal(300, mean=1.0, scale=0.5, seed=2))
    for name in ("kid", "fid", "mmd"):
        fine, poor = good.figures[name], bad.figures[name]
        assert fine.better == "lower" and fine.fake.low <= fine.real.high
        assert poor.fake.low > poor.real.high
    for name in ("recall", "coverage"):
        fine, poor = good.figures[name], bad.figures[name]
        assert fine.better == "higher" and fine.fake.high >= fine.real.low
        assert poor.fake.high < poor.real.low


def test_the_report_is_json_and_says_what_it_saw() -> None:
    images = np.tanh(np.random.default_rng(0).normal(size=(60, 1, 12, 12))).astype(np.float32)
    report = fidelity(normal(60, 40), normal(40, 40, seed=1), images, images[:20], replicates=4, pairs=10)
    told = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert told["images"] == {"real": 60, "fake": 40} and told["sample"] == 20
    assert "fid" not in told["figures"]  # 20 images for 40 features
    assert set(told["figures"]) == {"kid", "mmd", "precision", "recall", "density", "coverage", "ms_ssim"}
    assert set(told["figures"]["kid"]["real"]) == {"value", "low", "high"}
    assert len(report.sentences()) == 7 and report.sentences()[0].startswith("kid: ")
    assert fidelity(normal(60, 4), normal(40, 4, seed=1), replicates=4).as_dict()["figures"].keys() == {
        "kid", "fid", "mmd", "precision", "recall", "density", "coverage"
    }  # fmt: skip
    with pytest.raises(ValueError, match="or neither"):
        fidelity(normal(60, 4), normal(40, 4), real_images=images)


def test_nothing_unfinite_reaches_json() -> None:
    assert Estimate(float("nan"), 0.0, float("inf")).as_dict() == {"value": None, "low": 0.0, "high": None}


@pytest.mark.parametrize("shape", [(28, 28), (7, 9), (14, 16, 14)])
def test_ms_ssim_is_one_for_equal_images_and_falls_with_variety(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(-0.8, 0.8, (1, 1, *shape))
    noise = random.uniform(-0.8, 0.8, (12, 1, *shape))
    scores = [ms_ssim_diversity((1 - w) * base + w * noise, 24).value for w in (0.0, 0.2, 0.5, 1.0)]
    assert scores[0] == pytest.approx(1, abs=1e-4)
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.5


def test_ms_ssim_never_pairs_an_image_with_itself() -> None:
    flat = np.stack([np.full((1, 16, 16), v, dtype=np.float32) for v in (-0.9, 0.0, 0.9)])
    got = ms_ssim_diversity(flat, 60)
    assert got.high < 0.9


def test_scales_fit_the_image() -> None:
    assert [len(scales(side)[1]) for side in (7, 14, 28, 32, 64, 176, 256)] == [1, 2, 3, 3, 4, 5, 5]
    assert scales(176)[0] == 11 and scales(28)[0] == 7
    assert all(sum(scales(side)[1]) == pytest.approx(1) for side in (7, 28, 64, 176))
    with pytest.raises(ValueError, match="needs at least 7"):
        scales(6)


def test_precision_and_recall_swap_with_the_sets() -> None:
    """Precision of (a, b) is recall of (b, a)."""
    a, b = normal(40), normal(40, mean=0.7, seed=1)
    for one, two in permutations((a, b)):
        got, other = precision_recall_density_coverage(one, two), precision_recall_density_coverage(two, one)
        assert got["precision"] == other["recall"]

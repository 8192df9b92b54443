"""Figures of fused images, against values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from trainers.metrics.fusion import (
    all_figures,
    deviation,
    edges_kept,
    entropy,
    fidelity,
    mutual_information,
    structure,
    visual_information,
)


def picture(seed: int = 0) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(64, 80)), 2)
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth))


def test_entropy_counts_bits() -> None:
    assert entropy(np.full((4, 4), 7)) == 0
    assert entropy(np.repeat([0, 50, 100, 255], 16).reshape(8, 8)) == pytest.approx(2)
    assert deviation(np.array([[0.0, 10.0]])) == 5


def test_mutual_information_with_itself_is_entropy_and_with_noise_is_little() -> None:
    one = picture()
    assert mutual_information(one, one, one) == pytest.approx(2 * entropy(one))
    coarse = np.random.default_rng(0).integers(0, 2, (200, 200)) * 200
    other = np.random.default_rng(1).integers(0, 2, (200, 200)) * 200
    assert mutual_information(coarse, other, other) == pytest.approx(0, abs=0.01)
    assert mutual_information(255 - one, one, one) == pytest.approx(2 * entropy(one)), "it knows all, upside down"


def test_visual_information_is_one_of_the_same_less_when_blurred_more_with_contrast() -> None:
    one = picture()
    assert visual_information(one, one) == pytest.approx(1, abs=1e-6)
    assert visual_information(one, ndimage.gaussian_filter(one, 2)) < 0.6
    assert visual_information(one, (one - 128) * 1.5 + 128) > 1, "Sheikh and Bovik 2006, section V"
    assert visual_information(one, np.zeros_like(one)) < 0.01
    assert fidelity(one, one, one) == pytest.approx(2, abs=1e-6)


def test_edges_of_the_same_image_are_kept_and_those_of_a_blank_one_are_not() -> None:
    one = picture()
    best = np.prod([g / (1 + np.exp(k * (1 - s))) for g, k, s in ((0.9994, -15, 0.5), (0.9879, -22, 0.8))])
    assert edges_kept(one, one, one) == pytest.approx(best)
    assert edges_kept(np.zeros_like(one), one, one) < 0.01
    half = edges_kept(one, one, picture(1))
    assert 0.3 < half < 0.8


def test_structure_is_summed_over_sources() -> None:
    assert structure(picture(), picture(), picture()) == pytest.approx(2)
    assert structure(picture(), picture(), picture(1)) < 1.5


def test_the_larger_of_two_pixels_is_hard_to_beat() -> None:
    one, two = np.where(picture() > 140, picture(), 0), np.where(picture(1) > 140, picture(1), 0)
    largest, mean = all_figures(np.maximum(one, two), one, two), all_figures((one + two) / 2, one, two)
    assert all(largest[name] > mean[name] for name in ("SD", "VIF", "Qabf"))


def test_edges_that_differ_by_nearly_half_a_turn_are_alike() -> None:
    """Of an edge and of one a little to the other side of the vertical, the arctangents are far apart."""
    x, y = np.meshgrid(np.arange(48.0), np.arange(48.0), indexing="ij")
    left, right = x + 0.02 * y, x - 0.02 * y
    plain, flipped = edges_kept(left, left, left), edges_kept(right, left, left)
    assert flipped > 0.9 * plain

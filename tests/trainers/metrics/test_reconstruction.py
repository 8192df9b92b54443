"""Figures of reconstructions, against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from trainers.metrics.reconstruction import psnr, ssim, texture


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, 14, 10)).astype(np.float32)


def test_psnr_is_in_decibels_of_the_truths_range() -> None:
    truth = np.zeros((4, 4, 4), np.float32)
    truth[0] = 10
    assert psnr(truth + 1, truth) == pytest.approx(20.0), "range 10, error 1"
    assert psnr(truth * 3 + 3, truth * 3) == pytest.approx(20.0), "units do not matter"
    assert psnr(truth, truth) == float("inf")


def test_ssim_is_one_for_the_truth_and_falls_with_noise() -> None:
    truth = ndimage.gaussian_filter(noise(), 2)
    assert ssim(truth, truth) == pytest.approx(1)
    little, much = (ssim(truth + size * noise(1), truth) for size in (0.01, 0.1))
    assert 1 > little > much
    assert ssim(truth[:, :, :4], truth[:, :, :4]) == pytest.approx(1), "thin volumes too"


def test_texture_tells_smoothed_from_invented() -> None:
    truth = noise()
    assert texture(truth, truth) == pytest.approx(1)
    assert texture(ndimage.gaussian_filter(truth, 1), truth) < 0.3
    assert texture(truth + noise(3), truth) == pytest.approx(2, rel=0.1)


def test_without_contrast_nothing_can_be_measured() -> None:
    with pytest.raises(ValueError, match="no contrast"):
        psnr(noise(), np.ones((12, 14, 10)))

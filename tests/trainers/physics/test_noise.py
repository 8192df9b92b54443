"""Noise has the size and the distribution that physics gives it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainers.physics.noise import WATER_PER_MM, LowDose, back_project_filtered, project, rician


def disk(size: int = 96, radius: float = 30.0) -> np.ndarray:
    x, y = np.mgrid[:size, :size] - (size - 1) / 2
    return np.where(np.hypot(x, y) < radius, 0.0, -1000.0).astype(np.float32)


def test_without_signal_rician_noise_is_rayleigh_and_with_much_it_is_gaussian() -> None:
    random = torch.Generator().manual_seed(0)
    dark = rician(torch.zeros(200_000), 3.0, random)
    assert float(dark.mean()) == pytest.approx(3 * np.sqrt(np.pi / 2), rel=0.01)
    assert float(dark.std()) == pytest.approx(3 * np.sqrt(2 - np.pi / 2), rel=0.01)
    bright = rician(torch.full((200_000,), 100.0), 3.0, random)
    assert float(bright.mean()) == pytest.approx(np.sqrt(100**2 + 9), rel=0.001)
    assert float(bright.std()) == pytest.approx(3, rel=0.01)


def test_projections_are_lengths_and_go_back_to_the_slice() -> None:
    water = torch.from_numpy((disk() > -500).astype(np.float32)) * WATER_PER_MM
    angles = torch.arange(180) * (np.pi / 180)
    lines = project(water, angles) * 2.0
    assert lines.max(1).values.numpy() == pytest.approx(60 * 2 * WATER_PER_MM, rel=0.03), "from every side"
    back = back_project_filtered(lines, angles, tuple(water.shape), 2.0)
    inside, outside = disk(radius=24) > -500, disk(radius=36) < -500
    assert float(back[inside].mean()) == pytest.approx(WATER_PER_MM, rel=0.02)
    assert abs(float(back[outside].mean())) < 0.02 * WATER_PER_MM


def test_a_quarter_of_the_dose_doubles_the_noise_and_keeps_the_mean() -> None:
    image, inside = disk(), disk(radius=24) > -500
    noise = {}
    for dose in (0.4, 0.1):
        noisy = LowDose(dose=dose, electronic=0.0, views=180)(image, 4.0, np.random.default_rng(0))
        noise[dose] = float((noisy - image)[inside].std())
        assert abs(float((noisy - image)[inside].mean())) < 0.2 * noise[dose]
    assert noise[0.1] / noise[0.4] == pytest.approx(2, rel=0.1)
    assert 5 < noise[0.1] < 200, "Hounsfield units"


def test_the_middle_of_a_body_is_noisier_than_its_rim() -> None:
    image = disk()
    noisy = LowDose(dose=0.1, views=180)(image, 4.0, np.random.default_rng(0)) - image
    middle, rim = disk(radius=8) > -500, (disk(radius=29) > -500) & (disk(radius=25) < -500)
    assert noisy[middle].std() > 1.2 * noisy[rim].std()


def test_noise_repeats_with_its_seed_and_slices_need_not_be_square() -> None:
    image = disk()[:, 10:80]
    one, two = (LowDose(views=60)(image, 2.0, np.random.default_rng(4)) for _ in range(2))
    assert one.shape == image.shape and np.array_equal(one, two)

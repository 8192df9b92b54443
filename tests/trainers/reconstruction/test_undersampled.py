"""Undersampled MR as it is served: an image of any orientation stays where it is, and says that it was simulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainers.data.volumes import Volume, VolumeError, same_grid
from trainers.networks import build
from trainers.physics.kspace import mirrored
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights
from trainers.tasks.reconstruction.kspace import simulate
from trainers.tasks.reconstruction.models import open_model
from trainers.tasks.reconstruction.undersampled import UndersampledReconstructor

AXES = np.array([[0.0, 0.0, -3.0, 40.0], [0.9, 0.1, 0.0, -20.0], [-0.1, 0.9, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
"""Sagittal slices, 3 mm thick, oblique."""


@pytest.fixture
def model(tmp_path: Path) -> UndersampledReconstructor:
    network = {"name": "UnrolledReconstructor", "cascades": 1, "channels": [4, 8]}
    spec = ModelSpec("u", "reconstruction", "U", "U.", network, {"measurement": "undersampling"})
    spec.save(tmp_path)
    save_weights(build(network), tmp_path / WEIGHTS_FILE)
    opened = open_model(tmp_path)
    assert isinstance(opened, UndersampledReconstructor)
    return opened


def head(axes: list[int]) -> Volume:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(18, 21, 5)), 1.0)
    array = (900 * (smooth - smooth.min())).astype(np.int16)
    return Volume(array.transpose(axes), AXES[:, [*axes, 3]])


@pytest.mark.parametrize("axes", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_a_scan_that_is_not_faster_is_the_image(model: UndersampledReconstructor, axes: list[int]) -> None:
    volume = head(axes)
    found = model.reconstruct({"image": volume}, acceleration=1.0)
    assert same_grid(found.image, volume) and same_grid(found.uncertainty, volume)
    assert found.image.array == pytest.approx(volume.array, abs=0.5)
    assert found.contradiction is not None and found.contradiction < 1e-5


def test_it_says_that_it_was_simulated(model: UndersampledReconstructor) -> None:
    found = model.reconstruct({"image": head([0, 1, 2])}, acceleration=4, mask="equispaced")
    assert len(found.warnings) == 1 and "simulated" in found.warnings[0]
    assert "4.2 times faster, equispaced" in found.warnings[0], "5 of 21 lines"
    measured = model.reconstruct_kspace(simulate(head([0, 1, 2]), 4.0))
    assert not any("simulated" in warning for warning in measured.warnings)


def test_it_tells_how_much_faster_a_small_slice_can_be(model: UndersampledReconstructor) -> None:
    """Two lines in the middle are always measured."""
    found = model.reconstruct({"image": head([0, 1, 2])}, acceleration=1000)
    assert "10.5 times faster, random" in found.warnings[0]


@pytest.mark.parametrize("seed", [1.5, -1, "x"])
def test_a_seed_is_a_whole_number(model: UndersampledReconstructor, seed: object) -> None:
    with pytest.raises(ValueError, match=r"is no seed\. Give a whole number"):
        model.reconstruct({"image": head([0, 1, 2])}, seed=seed)


def test_the_same_seed_leaves_out_the_same_lines(model: UndersampledReconstructor) -> None:
    one, two, other = (model.reconstruct({"image": head([0, 1, 2])}, seed=seed).image.array for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize("conjugate", [False, True])
def test_the_mean_of_views_is_the_same_of_a_mirrored_image(model: UndersampledReconstructor, conjugate: bool) -> None:
    """Of one view it is not: a network's weights are not symmetric."""
    measured = simulate(head([0, 1, 2]), 3.0)
    samples, mask = torch.from_numpy(measured.samples), torch.from_numpy(measured.lines).float().reshape(1, 1, 1, -1)
    kspace, lines = mirrored(samples, mask, (-2, -1), conjugate)
    opposite = replace(measured, samples=kspace.numpy(), lines=lines[0, 0, 0].numpy().astype(bool))
    for views, same in ((True, True), (False, False)):
        one, other = (model.reconstruct_kspace(k, views=views) for k in (measured, opposite))
        assert np.allclose(one.image.array, other.image.array[::-1, ::-1], atol=0.05) is same
        assert np.allclose(one.uncertainty.array, other.uncertainty.array[::-1, ::-1], atol=0.05) is same
        assert one.contradiction is not None and one.contradiction < 1e-6


def test_views_can_be_switched_off_and_much_is_looked_at_once(model: UndersampledReconstructor) -> None:
    volume = {"image": head([0, 1, 2])}
    often, once = (model.reconstruct(volume, test_time_augmentation=on).image.array for on in (True, False))
    assert not np.array_equal(often, once)
    model.most_viewed = 18 * 21 * 5 - 1
    assert np.array_equal(model.reconstruct(volume).image.array, once)


def test_what_cannot_be_is_told(model: UndersampledReconstructor) -> None:
    with pytest.raises(ValueError, match="no strength"):
        model.reconstruct({"image": head([0, 1, 2])}, 0.5)
    with pytest.raises(ValueError, match="no mask"):
        model.reconstruct({"image": head([0, 1, 2])}, mask="spiral")
    with pytest.raises(VolumeError, match="below 0"):
        model.reconstruct({"image": Volume(np.full((9, 9, 9), -1.0), np.eye(4))})

"""A reconstruction network gets better than the plain inversion, knows where it is wrong, and can meet a critic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainers.data.volumes import VolumeError
from trainers.fit import fit
from trainers.networks import build
from trainers.networks.reconstruction import expected_error
from trainers.task import FitConfig
from trainers.tasks.reconstruction.measurement import Scan, SuperResolution, Undersampling
from trainers.tasks.reconstruction.task import (
    ReconstructionConfig,
    ReconstructionTask,
    as_images,
    doubt,
    feature_matching,
)

NETWORK = {"name": "SuperResolver", "spatial_dims": 3, "factors": [2, 2, 2], "channels": 12, "fine_channels": 8}


def shapes(seed: int) -> np.ndarray:
    """Bright bodies with sharp edges, which interpolation blurs."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=(17, 20, 16)), 2)
    image = (smooth > 0).astype(np.float32)
    return ((image - image.mean()) / image.std()).astype(np.float32)[None]


def task(adversarial: float = 0.0) -> ReconstructionTask:
    torch.manual_seed(0)
    network = build({**NETWORK, "blocks": 2})
    settings = ReconstructionConfig(patch=(16, 16, 16), adversarial=adversarial)
    return ReconstructionTask(
        network, SuperResolution(), [shapes(s) for s in range(6)], [shapes(s) for s in (90, 91)], settings
    )


def test_it_beats_cubic_interpolation_and_knows_where_it_is_wrong() -> None:
    mine = task()
    networks, history = fit(mine, FitConfig(120, 2, 3e-3, ema=0.9, precision="fp32", threads=1))
    truth = as_images(mine.validation[0], mine.measurement)
    measured = mine.measurement.measure(truth, 0)
    plain = mine.measurement.plain(measured)["cubic"]
    with torch.inference_mode():
        image, log_error = networks["generator"](**measured)
    assert (image - truth).abs().mean() < 0.95 * (plain - truth).abs().mean()
    assert history.metrics[-1][1]["psnr"] > 0
    error, told = (image - truth).abs().flatten(), expected_error(log_error).flatten()
    assert np.corrcoef(error, told)[0, 1] > 0.2
    assert float(told.mean()) == pytest.approx(float(error.mean()), rel=0.5), "in the units of the image"


def test_with_a_critic_two_networks_learn_in_turn() -> None:
    mine = task(adversarial=0.01)
    assert [phase.name for phase in mine.phases()] == ["discriminator", "generator"]
    before = {n: next(net.parameters()).clone() for n, net in mine.networks.items()}
    networks, _ = fit(mine, FitConfig(3, 2, 1e-3, ema=0.0, precision="fp32", threads=1))
    assert all(not torch.equal(before[n], next(net.parameters())) for n, net in networks.items())


def test_batches_depend_on_seed_and_step_alone() -> None:
    one, two = task(adversarial=0.01), task(adversarial=0.01)
    assert all(torch.equal(v, two.batch(5, 2, 0)[k]) for k, v in one.batch(5, 2, 0).items())
    assert not torch.equal(one.batch(5, 2, 0)["image"], one.batch(6, 2, 0)["image"])
    assert {"image", "coarse", "plain"} == set(one.batch(0, 2, 0))


def test_slices_are_drawn_for_measurements_of_slices() -> None:
    network = build({"name": "UnrolledReconstructor", "cascades": 1, "channels": [4, 8]})
    one, two = (shapes(s) - shapes(s).min() for s in (0, 1))
    with pytest.raises(VolumeError, match="below 0"):
        Undersampling().prepare(Scan(shapes(0), (1.0, 1.0, 1.0)))
    mine = ReconstructionTask(network, Undersampling(), [one], [two], ReconstructionConfig(patch=(24, 20)))
    batch = mine.batch(0, 3, 0)
    assert batch["image"].shape == batch["kspace"].shape == (3, 1, 24, 20), "reflected at the edges if too small"
    assert torch.isfinite(mine._generator_losses(batch)["l1"])
    assert as_images(shapes(0), Undersampling()).shape == (16, 1, 17, 20)


def test_doubt_is_smallest_where_it_is_the_error() -> None:
    error = torch.full((4,), 0.5, requires_grad=True)
    scales = torch.log(torch.tensor([0.2, 0.5, 1.0]))
    values = [float(doubt(error, s.expand(4)).detach()) for s in scales]
    assert values[1] == min(values) and values[1] == pytest.approx(1 + np.log(0.5), abs=1e-5)
    log_error = torch.zeros(4, requires_grad=True)
    doubt(error, log_error).backward()
    assert error.grad is None and log_error.grad is not None and log_error.grad[0] == pytest.approx((1 - 0.5) / 4)


def test_feature_matching_is_the_mean_difference() -> None:
    one, two = [torch.zeros(2, 3), torch.zeros(4)], [torch.ones(2, 3), torch.full((4,), 3.0)]
    assert float(feature_matching(one, two)) == 2.0

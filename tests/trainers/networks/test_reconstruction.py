"""Whatever their weights, reconstruction networks do not contradict what was measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainers.networks import build
from trainers.networks.blocks import gather, shuffle
from trainers.networks.reconstruction import Denoiser, SuperResolver, UnrolledReconstructor
from trainers.physics.kspace import CartesianMask, contradiction, to_kspace, zero_filled
from trainers.physics.sampling import block_average, spread


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """A network with large random weights, as a bad training may leave it."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize("factors", [(2, 2), (1, 3), (2, 2, 2), (1, 1, 4), (2, 1, 3)])
def test_shuffling_is_what_gathering_undoes(factors: tuple[int, ...]) -> None:
    size = [4 * f for f in factors]
    fine = torch.rand(2, 3, *size)
    coarse = gather(fine, factors)
    assert coarse.shape == (2, 3 * int(torch.tensor(factors).prod()), *[4] * len(factors))
    assert torch.equal(shuffle(coarse, factors), fine)
    assert torch.allclose(coarse.reshape(2, 3, -1, *[4] * len(factors)).mean(2), block_average(fine, factors))


def test_shuffling_is_that_of_torch_in_2d() -> None:
    x = torch.rand(2, 12, 3, 5)
    assert torch.equal(shuffle(x, (2, 2)), nn.functional.pixel_shuffle(x, 2))
    assert torch.equal(gather(shuffle(x, (2, 2)), (2, 2)), nn.functional.pixel_unshuffle(shuffle(x, (2, 2)), 2))


@pytest.mark.parametrize("factors", [(2, 2), (2, 2, 2), (1, 1, 4), (3, 1, 1)])
def test_block_averages_of_a_finer_image_are_the_input(factors: tuple[int, ...]) -> None:
    network = stirred(SuperResolver(len(factors), factors, 8, 4, 2))
    coarse = 100 * torch.randn(2, 1, *[5, 6, 7][: len(factors)])
    with torch.inference_mode():
        image, log_error = network(coarse)
    assert image.shape == log_error.shape == (2, 1, *(n * f for n, f in zip(coarse.shape[2:], factors, strict=True)))
    assert image.std() > 2 * coarse.std(), "the weights do something"
    assert (block_average(image, factors) - coarse).norm() / coarse.norm() < 1e-5


def test_measured_lines_stay_in_an_unrolled_reconstruction() -> None:
    network = stirred(UnrolledReconstructor(2, (4, 8)))
    truth = torch.randn(3, 1, 20, 27, dtype=torch.complex64)
    mask = torch.from_numpy(CartesianMask(4).lines(27)).float().reshape(1, 1, 1, 27)
    kspace = to_kspace(truth) * mask
    with torch.inference_mode():
        image, log_error = network(kspace, mask)
    assert image.shape == log_error.shape == truth.shape and image.is_complex()
    assert not torch.allclose(image, zero_filled(kspace, mask), atol=0.1)
    assert contradiction(image, kspace, mask).max() / kspace.abs().max() < 1e-5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_they_begin_near_what_they_correct(dimensions: int) -> None:
    noisy = torch.randn(1, 1, *[8] * dimensions)
    image, _ = Denoiser(dimensions, 8, 2)(noisy)
    assert image.shape == noisy.shape and (image - noisy).abs().max() < 0.2
    coarse = torch.ones(1, 1, *[4] * dimensions)
    fine, _ = SuperResolver(dimensions, [2] * dimensions, 8, 4, 2)(coarse)
    assert torch.allclose(fine, torch.ones_like(fine), atol=0.1)


def test_they_can_be_built_from_a_spec_and_learn() -> None:
    torch.manual_seed(0)
    network = build({"name": "SuperResolver", "spatial_dims": 2, "factors": [2, 2], "channels": 8, "blocks": 1})
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    stripes = 1 + 0.5 * (-1.0) ** torch.arange(16)
    truth = spread(torch.rand(4, 1, 8, 8), (2, 2)) * stripes
    losses = []
    for _ in range(100):
        loss = (network(block_average(truth, (2, 2))).image - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]

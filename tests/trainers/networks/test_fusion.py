"""The fusion network: whatever order, any size, nothing of its own."""

from __future__ import annotations

import pytest
import torch

from trainers.networks import build
from trainers.networks.fusion import SymmetricFusion


@pytest.fixture
def network() -> SymmetricFusion:
    """With weights at random."""
    torch.manual_seed(0)
    made = SymmetricFusion(4, [4, 6])
    for head in (made.choose, made.adjust, made.doubt):
        torch.nn.init.normal_(head[-1].weight, 0, 0.5)
    return made.eval()


def test_without_training_it_is_the_brighter_of_both() -> None:
    made = build({"name": "SymmetricFusion", "channels": 4, "wide": [4, 4]}).eval()
    one, two = torch.rand(2, 1, 18, 21), torch.rand(2, 1, 18, 21)
    torch.testing.assert_close(made(one, two).image, torch.maximum(one, two))


@pytest.mark.parametrize("size", [(32, 32), (33, 30), (7, 9), (4, 17), (1, 1)])
def test_the_order_does_not_matter_for_any_size(network: SymmetricFusion, size: tuple[int, int]) -> None:
    one, two = torch.rand(2, 1, *size), torch.rand(2, 1, *size)
    found, swapped = network(one, two), network(two, one)
    assert found.image.shape == found.log_error.shape == one.shape
    torch.testing.assert_close(found.image, swapped.image)
    torch.testing.assert_close(found.log_error, swapped.log_error)
    assert (found.image - torch.maximum(one, two)).abs().max() > 1e-3, "the weights do something"


def test_the_image_stays_between_black_and_white(network: SymmetricFusion) -> None:
    torch.nn.init.constant_(network.adjust[-1].bias, 3.0)
    one, two = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert network(one, two).image.max() == 1
    assert network.train()(one, two).image.max() > 1, "in training it tells how far beyond"


def test_it_chooses_and_weighs_by_coarse_fields_alone(network: SymmetricFusion) -> None:
    """The formula of the class, of fields that are four times as coarse."""
    fields: list[torch.Tensor] = []
    for head in (network.choose, network.adjust):
        head.register_forward_hook(lambda _, __, out: fields.append(out.tanh()))
    one, two = torch.rand(1, 1, 32, 24), torch.rand(1, 1, 32, 24)
    with torch.no_grad():
        found = network.train()(one, two).image
    assert [tuple(field.shape) for field in fields] == [(2, 1, 8, 6), (1, 2, 8, 6)]
    choice, change = (torch.nn.functional.interpolate(f, (32, 24), mode="bilinear") for f in fields)
    brighter = torch.maximum(one, two)
    moved = brighter + 1.25 * (choice[:1] * (one - brighter) + choice[1:] * (two - brighter))
    offset = 0.5 * change[:, 1:] * (brighter / 0.05).clamp(max=1)
    torch.testing.assert_close(found, moved * (1 + 0.5 * change[:, :1]) + offset)


def test_nothing_is_made_of_nothing(network: SymmetricFusion) -> None:
    torch.nn.init.constant_(network.adjust[-1].bias, 3.0)
    one, two = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    one[..., :8, :] = two[..., :8, :] = 0
    assert (network(one, two).image[..., :8, :] == 0).all()


def test_the_doubt_does_not_change_the_image(network: SymmetricFusion) -> None:
    network(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)).log_error.sum().backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"doubt"}

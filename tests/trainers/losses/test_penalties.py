"""Gradient penalties: values and gradients by hand, two and three dimensions, mixed precision, bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainers.losses.penalties import clip_weights, full_precision, gradient_penalty, r1_penalty, r2_penalty

SHAPES = [(3, 2, 4, 5), (2, 1, 3, 4, 2)]


class Linear(nn.Module):
    """D(x) = slope * sum(x): the norm of its gradient is |slope| * sqrt(voxels)."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * images.flatten(1).sum(1)


def squares(images: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """D(x) = weight / 2 ||x||^2, whose gradient is weight * x."""
    return weight / 2 * images.flatten(1).square().sum(1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", [0.25, 3.0])
def test_gradient_penalty_of_a_linear_critic(shape: tuple[int, ...], norm: float) -> None:
    voxels = torch.tensor(shape[1:]).prod().item() ** 0.5
    critic = Linear(norm / voxels)
    real, fake = torch.randn(2, *shape, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake)
    penalty.backward()
    assert penalty.item() == pytest.approx((norm - 1) ** 2)
    assert critic.slope.grad is not None
    assert critic.slope.grad.item() == pytest.approx(2 * (norm - 1) * voxels)


@pytest.mark.parametrize(("norm", "penalty"), [(0.25, 0.0), (1.0, 0.0), (3.0, 4.0)])
def test_the_one_sided_penalty_lets_flat_critics_be(norm: float, penalty: float) -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64)
    assert gradient_penalty(Linear(norm / 4), real, fake, one_sided=True).item() == pytest.approx(penalty, abs=1e-12)


def test_a_flat_critic_gets_a_finite_pull() -> None:
    critic = Linear(0.0)
    penalty = gradient_penalty(critic, *torch.randn(2, 3, 1, 4, 4))
    penalty.backward()
    assert penalty.item() == pytest.approx(1)
    assert critic.slope.grad is not None and torch.isfinite(critic.slope.grad)


def test_the_penalty_is_between_each_pair_at_its_own_random_point() -> None:
    """With D(x) = 1/2 ||x||^2 the gradient's norm is that of the point, which tells where it was."""
    seen: list[Tensor] = []

    def critic(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return squares(images)

    real, fake = torch.full((64, 1, 2, 2), 3.0), torch.full((64, 1, 2, 2), 1.0)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    share = (seen[0].flatten(1) - 1) / 2
    assert torch.allclose(share, share[:, :1].expand_as(share))  # one number for all of an image
    assert share.min() < 0.1 and share.max() > 0.9 and share.min() >= 0 and share.max() <= 1
    assert share[:, 0].unique().numel() == 64
    assert penalty.item() == pytest.approx((seen[0].flatten(1).norm(dim=1) - 1).square().mean().item())
    again = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    assert torch.equal(seen[0], seen[1]) and again.item() == penalty.item()


def test_images_get_no_gradient_from_the_gradient_penalty() -> None:
    real, fake = (torch.randn(2, 1, 4, 4, requires_grad=True) for _ in range(2))
    gradient_penalty(Linear(1.0), real, fake).backward()
    assert real.grad is None and fake.grad is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [r1_penalty, r2_penalty])
def test_r1_and_r2_are_half_the_squared_norm(shape: tuple[int, ...], penalty: object) -> None:
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    value = penalty(squares(images, weight), images)  # type: ignore[operator]
    norms = images.detach().flatten(1).square().sum(1).mean().item()
    assert value.item() == pytest.approx(0.5 * 9 * norms)
    assert torch.autograd.grad(value, weight)[0].item() == pytest.approx(3 * norms)


def test_penalties_can_be_trained_through() -> None:
    """Gradients of a real network's penalties by finite differences."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(12, 1)).double()
    names = [name for name, _ in net.named_parameters()]
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64)

    def r1(*weights: Tensor) -> Tensor:
        points = images.clone().requires_grad_()
        return r1_penalty(torch.func.functional_call(net, dict(zip(names, weights, strict=True)), points), points)

    def wgan_gp(*weights: Tensor) -> Tensor:
        def critic(points: Tensor) -> Tensor:
            return torch.func.functional_call(net, dict(zip(names, weights, strict=True)), points)

        return gradient_penalty(critic, images, -images, torch.Generator().manual_seed(1))

    # The last bias does not change the gradient at all.
    weights = [p.detach().clone().requires_grad_(name != names[-1]) for name, p in net.named_parameters()]
    assert torch.autograd.gradcheck(r1, weights)
    assert torch.autograd.gradcheck(wgan_gp, weights)


def test_a_patch_discriminator_scores_an_image_by_the_mean_of_its_patches() -> None:
    images = torch.randn(2, 1, 4, 4, requires_grad=True)
    one, many = squares(images), squares(images).reshape(2, 1, 1, 1).expand(2, 1, 5, 5)
    assert r1_penalty(many, images).item() == pytest.approx(r1_penalty(one, images).item())


def test_under_mixed_precision_the_penalty_is_that_of_float32() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Softplus(), nn.Linear(32, 1))
    real, fake = torch.randn(2, 4, 1, 8, 8)

    def penalty() -> Tensor:
        return gradient_penalty(net, real, fake, torch.Generator().manual_seed(0))

    plain = penalty()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = penalty()
        points = real.clone().requires_grad_()
        with full_precision(real.device):
            scores = net(points)
        precise = r1_penalty(scores, points)  # scores of float32 are enough, wherever they are differentiated
        coarse = r1_penalty(net(points), points)
    assert mixed.dtype is torch.float32 and mixed.item() == plain.item()
    assert coarse.dtype is torch.float32
    points = real.clone().requires_grad_()
    expected = r1_penalty(net(points), points).item()
    assert precise.item() == expected and coarse.item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_are_mixed_in_float32(dtype: torch.dtype) -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4).to(dtype)
    assert gradient_penalty(Linear(1.0), real, fake).item() == pytest.approx(9)


def test_penalties_work_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert gradient_penalty(Linear(1.0), *torch.randn(2, 3, 1, 4, 4)).item() == pytest.approx(9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3), st.integers(1, 3))
def test_any_shape(spatial: list[int], n: int, channels: int) -> None:
    real, fake = torch.randn(2, n, channels, *spatial, dtype=torch.float64)
    voxels = real[0].numel()
    assert gradient_penalty(Linear(1.0), real, fake).item() == pytest.approx((voxels**0.5 - 1) ** 2, abs=1e-9)
    real.requires_grad_()
    assert r1_penalty(Linear(2.0)(real), real).item() == pytest.approx(0.5 * 4 * voxels)


def test_bad_input_is_told() -> None:
    images = torch.randn(2, 1, 4, 4)
    with pytest.raises(ValueError, match="requires_grad_"):
        r1_penalty(squares(images), images)
    with pytest.raises(ValueError, match="no gradient"):
        r1_penalty(squares(images.clone().requires_grad_()), images.clone().requires_grad_())
    with pytest.raises(ValueError, match="one shape"):
        gradient_penalty(squares, images, images[:1])
    with pytest.raises(ValueError, match="do not depend"):
        gradient_penalty(lambda x: x.detach().sum((1, 2, 3)), images, images)


def test_clipped_weights_are_within_the_limit_and_the_others_untouched() -> None:
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.005, -0.005, 0.0], [5.0, -5.0, 0.01]]))
        net.bias.fill_(-1.0)
    clip_weights(net, 0.01)
    assert torch.equal(net.weight.detach(), torch.tensor([[0.005, -0.005, 0.0], [0.01, -0.01, 0.01]]))
    assert torch.equal(net.bias.detach(), torch.tensor([-0.01, -0.01]))
    assert net.weight.requires_grad


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_weights_are_not_clipped_to_nothing(limit: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        clip_weights(nn.Linear(1, 1), limit)

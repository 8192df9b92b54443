"""Adversarial losses: values by hand, gradients, large scores, number types."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.losses.adversarial import (
    ADVERSARIAL,
    hinge_discriminator,
    minimax_generator,
    non_saturating_generator,
    relativistic_discriminator,
    relativistic_generator,
)

REAL, FAKE = (2.0, -1.0), (0.5, -3.0)


def log_sigmoid(value: float) -> float:
    return math.log(1 / (1 + math.exp(-value)))


def log_rest(value: float) -> float:
    return math.log(1 - 1 / (1 + math.exp(-value)))


BY_HAND = {
    "minimax": (
        -(log_sigmoid(2) + log_sigmoid(-1)) / 2 - (log_rest(0.5) + log_rest(-3)) / 2,
        (log_rest(0.5) + log_rest(-3)) / 2,
    ),
    "non_saturating": (
        -(log_sigmoid(2) + log_sigmoid(-1)) / 2 - (log_rest(0.5) + log_rest(-3)) / 2,
        -(log_sigmoid(0.5) + log_sigmoid(-3)) / 2,
    ),
    "wasserstein": (-1.25 - 0.5, 1.25),
    "least_squares": ((1 + 4) / 4 + (0.25 + 9) / 4, (0.25 + 16) / 4),
    "hinge": ((0 + 2) / 2 + (1.5 + 0) / 2, 1.25),
    "relativistic": (
        -(log_sigmoid(2 - 0.5) + log_sigmoid(-1 + 3)) / 2,
        -(log_sigmoid(0.5 - 2) + log_sigmoid(-3 + 1)) / 2,
    ),
}


def test_every_loss_is_worked_out_by_hand_here() -> None:
    assert set(BY_HAND) == set(ADVERSARIAL)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_values(name: str) -> None:
    real, fake, loss = torch.tensor(REAL), torch.tensor(FAKE), ADVERSARIAL[name]
    discriminator, generator = BY_HAND[name]
    assert loss.discriminator(real, fake).item() == pytest.approx(discriminator, rel=1e-6)
    assert loss.generator(real, fake).item() == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_gradients(name: str) -> None:
    scores = [torch.tensor(s, dtype=torch.float64, requires_grad=True) for s in (REAL, FAKE)]
    assert torch.autograd.gradcheck(ADVERSARIAL[name].discriminator, scores)
    assert torch.autograd.gradcheck(ADVERSARIAL[name].generator, scores)


def test_the_generator_that_does_not_saturate_learns_where_the_other_stands_still() -> None:
    def slope(loss: Callable[..., torch.Tensor]) -> float:
        fake = torch.tensor([-10.0], requires_grad=True)
        loss(None, fake).backward()
        assert fake.grad is not None
        return fake.grad.item()

    assert slope(minimax_generator) == pytest.approx(-1 / (1 + math.exp(10)), rel=1e-4)
    assert slope(non_saturating_generator) == pytest.approx(-1 / (1 + math.exp(-10)), rel=1e-6)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_players_pull_scores_apart_and_together(name: str) -> None:
    """The discriminator wants real scores up and fake ones down, the generator fake ones up."""
    real, fake = torch.zeros(3, requires_grad=True), torch.full((3,), 0.0, requires_grad=True)
    for_real = torch.autograd.grad(ADVERSARIAL[name].discriminator(real, fake + 0.1), real)[0]
    for_fake = torch.autograd.grad(ADVERSARIAL[name].discriminator(real, fake + 0.1), fake)[0]
    of_generator = torch.autograd.grad(ADVERSARIAL[name].generator(real, fake), fake)[0]
    assert (for_real < 0).all() and (for_fake > 0).all() and (of_generator < 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_sure_scores_cost_and_pull_finitely(name: str, size: float) -> None:
    real, fake = torch.tensor([size], requires_grad=True), torch.tensor([-size], requires_grad=True)
    for player in (ADVERSARIAL[name].discriminator, ADVERSARIAL[name].generator):
        value = player(real, fake)
        gradients = torch.autograd.grad(value, (real, fake), allow_unused=True)
        assert torch.isfinite(value)
        assert all(g is None or torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_half_precision_scores_are_summed_in_float32(name: str) -> None:
    real, fake = torch.full((8, 1, 4, 4), 400.0).half(), torch.full((8, 1, 4, 4), -400.0).half()
    for player in (ADVERSARIAL[name].discriminator, ADVERSARIAL[name].generator):
        value = player(real, fake)
        assert value.dtype is torch.float32 and torch.isfinite(value)
        assert value.item() == pytest.approx(player(real.double(), fake.double()).item(), rel=1e-6)


@pytest.mark.parametrize("name", [n for n, loss in ADVERSARIAL.items() if not loss.needs_real])
def test_a_generator_that_does_not_look_at_real_scores_needs_none(name: str) -> None:
    fake = torch.tensor(FAKE)
    generator = ADVERSARIAL[name].generator
    assert generator(None, fake).item() == generator(torch.tensor(REAL), fake).item()


@pytest.mark.parametrize("name", [n for n, loss in ADVERSARIAL.items() if loss.needs_real])
def test_a_generator_that_looks_at_real_scores_asks_for_them(name: str) -> None:
    with pytest.raises(ValueError, match="give it both"):
        ADVERSARIAL[name].generator(None, torch.tensor(FAKE))


def test_relativistic_scores_are_paired_by_index() -> None:
    real, fake = torch.tensor([4.0, 0.0]), torch.tensor([4.0, 0.0])
    assert relativistic_discriminator(real, fake).item() == pytest.approx(math.log(2))
    assert relativistic_discriminator(real, fake.flip(0)).item() > 2
    with pytest.raises(ValueError, match="as many samples"):
        relativistic_discriminator(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="as many samples"):
        relativistic_generator(torch.zeros(4, 1), torch.zeros(4))  # would broadcast to all pairs


@given(st.floats(-50, 50), st.integers(1, 4), st.lists(st.integers(1, 4), max_size=3))
def test_relativistic_and_wasserstein_losses_see_differences_alone(shift: float, n: int, patches: list[int]) -> None:
    real, fake = torch.randn(2, n, *patches, dtype=torch.float64)
    for name in ("relativistic", "wasserstein"):
        for player in (ADVERSARIAL[name].discriminator, ADVERSARIAL[name].generator):
            if name == "relativistic" or player is ADVERSARIAL[name].discriminator:
                assert torch.isclose(player(real + shift, fake + shift), player(real, fake), rtol=1e-6, atol=1e-9)


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(1, 4), max_size=3))
def test_losses_are_means_over_samples_and_patches(real: int, fake: int, patches: list[int]) -> None:
    """A score everywhere costs what it costs once, however many samples and patches there are."""
    for name, loss in ADVERSARIAL.items():
        n = real if name == "relativistic" else fake
        many = loss.discriminator(torch.full((real, *patches), 0.7), torch.full((n, *patches), -0.2))
        assert many.shape == ()
        assert many.item() == pytest.approx(loss.discriminator(torch.tensor(0.7), torch.tensor(-0.2)).item(), rel=1e-5)


def test_scores_beyond_the_hinge_do_not_pull() -> None:
    real = torch.tensor([1.5, 0.5], requires_grad=True)
    fake = torch.tensor([-1.5, -0.5], requires_grad=True)
    hinge_discriminator(real, fake).backward()
    assert real.grad is not None and real.grad.tolist() == [0.0, -0.5]
    assert fake.grad is not None and fake.grad.tolist() == [0.0, 0.5]

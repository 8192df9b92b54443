"""The losses: those of figures equal the figures, all are best where they should be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainers.metrics import fusion as metrics
from trainers.tasks.fusion import losses

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@pytest.fixture
def images() -> list[np.ndarray]:
    """Fused, one and two, (48, 60) of 0 to 1, smooth with edges."""
    random = np.random.default_rng(0)
    x, y = np.ogrid[:48, :60]
    one = 0.2 + 0.5 * (((x - 20) ** 2 + (y - 25) ** 2) < 150) + 0.003 * y
    two = 0.1 + 0.6 * ((x // 8 + y // 10) % 2) + 0.002 * x
    one, two = (np.clip(z + random.normal(0, 0.01, z.shape), 0, 1).astype(np.float32) for z in (one, two))
    return [np.clip(0.8 * np.maximum(one, two) + 0.1 * one, 0, 1).astype(np.float32), one, two]


def tensors(images: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(image)[None, None] for image in images]


def test_they_are_the_figures(images: list[np.ndarray]) -> None:
    shown = [255 * image for image in images]
    fused, one, two = tensors(images)
    assert 2 * (1 - losses.structure(fused, one, two).item()) == pytest.approx(metrics.structure(*shown), abs=1e-3)
    assert -2 * losses.fidelity(fused, one, two).item() == pytest.approx(metrics.fidelity(*shown), abs=2e-3)
    assert 1 - losses.edges(fused, one, two).item() == pytest.approx(metrics.edges_kept(*shown), abs=0.05)


@pytest.mark.parametrize("loss", [losses.structure, losses.layout, losses.fidelity, losses.edges, losses.intensity])
def test_no_image_beats_two_equal_sources(images: list[np.ndarray], loss: Loss) -> None:
    fused, one, _ = tensors(images)
    assert loss(one, one, one) < loss(fused, one, one)
    assert loss(one, one, one).item() == pytest.approx(-1 if loss is losses.fidelity else 0, abs=0.04)


@pytest.mark.parametrize("loss", [losses.structure, losses.layout, losses.fidelity, losses.edges, losses.intensity])
def test_gradients_are_finite_also_on_flat_images(images: list[np.ndarray], loss: Loss) -> None:
    for given in (tensors(images), [torch.zeros(1, 1, 48, 48) for _ in range(3)]):
        fused = given[0].clone().requires_grad_()
        loss(fused, *given[1:]).backward()
        assert fused.grad is not None and torch.isfinite(fused.grad).all()


def test_uptake_must_not_be_hidden() -> None:
    hot = torch.tensor([[[[0.0, 0.5, 1.0, 0.2]]]])
    assert losses.uptake(hot, hot) == 0 and losses.uptake(hot + 0.1, hot) == 0
    torch.testing.assert_close(losses.uptake(torch.full_like(hot, 0.4), hot), torch.tensor((0.1 + 0.6) / 4))


def test_contrast_of_an_image_and_of_one_within_black() -> None:
    stripes = torch.tensor([0.0, 1.0] * 14).reshape(1, 1, 4, 7)
    framed = np.array([0.0, 1.0] * 14 + [0.0] * 52)  # 28 of 80 pixels, 35 %
    assert losses.contrast(stripes, 0.5 * stripes, 0.2 * stripes, 1.0).item() < 1e-4
    short = [1.2 * np.std(x) - np.std(0.5 * x) for x in (stripes.numpy(), framed)]
    found = losses.contrast(0.5 * stripes, stripes, 0.2 * stripes, 1.2)
    assert found.item() == pytest.approx(np.mean(short), abs=1e-3)


def test_entropy_of_greys() -> None:
    """Eight greys are three bits, four are two; a value between two bins counts for both."""
    eight, four = (torch.arange(64).remainder(n).reshape(1, 1, 8, 8) / 63 * 9 for n in (8, 4))
    black = torch.zeros_like(eight)
    assert losses.entropy(four, eight, black, 1.0).item() == pytest.approx(1, abs=1e-3)
    assert losses.entropy(four, eight, black, 1.1).item() == pytest.approx(1.3, abs=1e-3)
    assert losses.entropy(eight, four, black, 1.0) == 0
    between = torch.full((1, 1, 8, 8), 10.5 / 63)
    assert losses.entropy(black, between, black, 1.0).item() == pytest.approx(1, abs=1e-3)


def test_overflow() -> None:
    assert losses.overflow(torch.tensor([-0.2, 0.5, 1.4])).item() == pytest.approx(0.2)

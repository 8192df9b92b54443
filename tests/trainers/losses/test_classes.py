"""Discriminators that know classes: values by hand, gradients, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.losses.classes import auxiliary_classifier, class_loss, projection_score


def likelihood(logits: list[float], index: int) -> float:
    return -math.log(math.exp(logits[index]) / sum(map(math.exp, logits)))


def test_the_auxiliary_classifier_on_numbers() -> None:
    real, fake = [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], [[0.5, 0.5, 0.5]]
    value = auxiliary_classifier(torch.tensor(real), torch.tensor([0, 2]), torch.tensor(fake), torch.tensor([1]))
    expected = (likelihood(real[0], 0) + likelihood(real[1], 2)) / 2 + math.log(3)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_its_gradient_is_probability_minus_truth() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 2, 1, 2])
    (gradient,) = torch.autograd.grad(class_loss(logits, classes), logits)
    assert torch.allclose(gradient, (logits.softmax(1) - torch.eye(3, dtype=torch.float64)[classes]) / 4)
    assert torch.autograd.gradcheck(lambda x: class_loss(x, classes), logits)


@given(st.lists(st.integers(1, 3), max_size=3))
def test_every_patch_is_asked_for_the_class_of_its_image(patches: list[int]) -> None:
    logits, classes = torch.randn(3, 4), torch.tensor([3, 0, 1])
    many = logits.reshape(3, 4, *[1] * len(patches)).expand(3, 4, *patches)
    assert class_loss(many, classes).item() == pytest.approx(class_loss(logits, classes).item(), rel=1e-5)


def test_sure_classifiers_cost_finitely_in_half_precision() -> None:
    logits = torch.tensor([[6e4, -6e4]]).half()
    assert class_loss(logits, torch.tensor([0])).item() == 0
    assert class_loss(logits, torch.tensor([1])).item() == pytest.approx(12e4, rel=1e-3)


def test_the_projection_on_numbers() -> None:
    features, embedded = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[3.0, 0.5], [1.0, 1.0]])
    score = projection_score(features, embedded, torch.tensor([[10.0], [20.0]]))
    assert score.tolist() == [[3 + 1 + 10], [-1 + 20]]


def test_the_projection_is_equation_3_with_one_hot_classes() -> None:
    features, v = torch.randn(4, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    psi, classes = torch.randn(5, 1, dtype=torch.float64), torch.tensor([2, 0, 1, 2])
    y = torch.eye(3, dtype=torch.float64)[classes]
    score = projection_score(features, v[classes], features @ psi)
    assert torch.allclose(score[:, 0], torch.einsum("nk,kd,nd->n", y, v, features) + (features @ psi)[:, 0])


def test_gradients_of_the_projection() -> None:
    inputs = [torch.randn(n, d, dtype=torch.float64, requires_grad=True) for n, d in ((3, 4), (3, 4), (3, 1))]
    assert torch.autograd.gradcheck(projection_score, inputs)
    assert torch.autograd.gradgradcheck(projection_score, inputs)  # R1 differentiates it twice


def test_projections_that_would_mix_images_are_told() -> None:
    features = torch.zeros(3, 4)
    for embedded, unconditional in (((1, 4), (3, 1)), ((3, 4), (3,)), ((3, 4), (1, 1))):
        with pytest.raises(ValueError, match="The projection needs"):
            projection_score(features, torch.zeros(embedded), torch.zeros(unconditional))


def test_bad_classes_are_told() -> None:
    logits = torch.randn(2, 3)
    for wrong in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="from 0 to 2"):
            class_loss(logits, torch.tensor(wrong))
    for shape in ((1,), (2, 1), (3,)):
        with pytest.raises(ValueError, match="one class index for each of 2"):
            class_loss(logits, torch.zeros(shape))

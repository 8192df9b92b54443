"""Outlines are compared where they lie, whatever their grids."""

from __future__ import annotations

import numpy as np
import pytest

from monailabel_app.finetune.outlines import SAME, overlap
from trainers.data.volumes import Volume


def ball(radius: float = 8.0, spacing: float = 1.0, middle: float = 0.0, size: int = 32, flip: bool = False) -> Volume:
    """A ball around a point of the x axis, in a grid around the origin."""
    affine = np.diag([-spacing if flip else spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (size - 1) / 2)
    place = np.einsum("ij,j...->i...", affine[:3, :3], np.indices((size,) * 3)) + affine[:3, 3, None, None, None]
    place[0] -= middle
    return Volume((np.linalg.norm(place, axis=0) < radius).astype(np.uint8), affine)


@pytest.mark.parametrize(
    "other", [ball(), ball(spacing=0.7, size=40), ball(spacing=1.5, flip=True), ball(spacing=2.0, size=16)]
)
def test_the_same_outline_on_another_grid(other: Volume) -> None:
    assert overlap(ball(), other) > 0.9
    assert overlap(other, ball()) > 0.9


def test_a_part_of_it_that_was_cut_off_does_not_count() -> None:
    assert overlap(ball(), ball(size=12)) > 0.99


def test_figures() -> None:
    whole, shifted = ball(), ball(middle=8.0)
    both = np.count_nonzero(whole.array & shifted.array)
    assert overlap(whole, shifted) == pytest.approx(2 * both / (whole.array.sum() + shifted.array.sum()))
    assert overlap(ball(radius=6), ball()) == pytest.approx(2 * 6**3 / (6**3 + 8**3), abs=0.03)


def test_others_and_nothing() -> None:
    assert overlap(ball(), ball(middle=4.0)) < SAME
    far = Volume(ball().array, ball().affine + np.array([[0, 0, 0, 900]] + [[0] * 4] * 3))
    assert overlap(ball(), far) == 0
    empty = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    assert overlap(empty, empty) == overlap(empty, ball()) == 0

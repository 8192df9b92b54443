"""Block averages, and that back-projection leaves nothing of an image that contradicts them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.physics.sampling import back_project, block_average, spread


def test_the_average_of_a_known_block() -> None:
    image = torch.arange(8.0).reshape(1, 1, 4, 2)
    assert block_average(image, (2, 1)).tolist() == [[[[1.0, 2.0], [5.0, 6.0]]]]
    assert block_average(image, (2, 2)).tolist() == [[[[1.5], [5.5]]]]


def test_spreading_is_the_pseudo_inverse() -> None:
    """A A⁺ = 1, and A⁺ A is symmetric: it is the projection on images of even blocks."""
    factors, basis = (2, 3), torch.eye(24).reshape(24, 1, 4, 6)
    coarse = torch.rand(2, 3, 2, 2)
    assert torch.allclose(block_average(spread(coarse, factors), factors), coarse)
    projection = spread(block_average(basis, factors), factors).reshape(24, 24)
    assert torch.allclose(projection, projection.T) and torch.allclose(projection @ projection, projection, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(factors=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 999), scale=st.floats(-3, 6))
def test_back_projection_agrees_with_the_measurement_and_moves_no_more_than_it_must(
    factors: list[int], seed: int, scale: float
) -> None:
    torch.manual_seed(seed)
    coarse = torch.randn(1, 1, *[3] * len(factors)) * 10**scale
    guess = torch.randn(1, 1, *[3 * f for f in factors]) * 10**scale
    better = back_project(guess, coarse, factors)
    error = (block_average(better, factors) - coarse).abs().max() / coarse.abs().max()
    assert error < 1e-5
    assert torch.allclose(better, back_project(better, coarse, factors), rtol=1e-4, atol=float(10**scale) * 1e-5)
    moved = better - guess
    assert torch.allclose(moved, spread(block_average(moved, factors), factors), atol=float(10**scale) * 1e-5)


@pytest.mark.parametrize(("size", "factors"), [((5, 4), (2, 2)), ((4, 4), (2,)), ((4, 4), (0, 2))])
def test_sizes_that_have_no_blocks_are_refused(size: tuple[int, ...], factors: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"factors|crop it"):
        block_average(torch.zeros(1, 1, *size), factors)

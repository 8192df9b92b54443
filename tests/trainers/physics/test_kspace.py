"""The transform is unitary and centred, masks hold what they promise, and what was measured stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.physics.kspace import (
    KINDS,
    CartesianMask,
    contradiction,
    keep_measured,
    mirrored,
    to_image,
    to_kspace,
    zero_filled,
)


def image(seed: int = 0, *size: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(*(size or (2, 12, 17)), dtype=torch.complex64)


def test_a_constant_image_has_all_its_energy_in_the_middle() -> None:
    kspace = to_kspace(torch.ones(1, 6, 9, dtype=torch.complex64))
    assert kspace[0, 3, 4].real == pytest.approx(54**0.5, rel=1e-6)
    assert kspace.abs().sum() == pytest.approx(54**0.5, rel=1e-4)


def test_the_transform_keeps_energy_and_can_be_undone() -> None:
    one = image()
    assert torch.allclose(to_image(to_kspace(one)), one, atol=1e-5)
    assert to_kspace(one).abs().square().sum() == pytest.approx(float(one.abs().square().sum()), rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    acceleration=st.floats(1, 8),
    centre=st.floats(0, 0.3),
    count=st.integers(16, 300),
    seed=st.integers(0, 99),
)
def test_a_mask_has_its_centre_and_its_acceleration(
    kind: str, acceleration: float, centre: float, count: int, seed: int
) -> None:
    mask = CartesianMask(acceleration, kind, centre)
    lines = mask.lines(count, seed)
    middle = max(1, round(count * centre))
    assert lines.sum() == max(middle, round(count / acceleration))
    assert lines[count // 2 - middle // 2 : count // 2 - middle // 2 + middle].all(), "with the zero frequency in it"
    assert lines[count // 2]
    assert np.array_equal(lines, mask.lines(count, seed))


def test_equispaced_lines_are_even_and_random_ones_change_with_the_seed() -> None:
    even = CartesianMask(4, "equispaced", 0.0).lines(64, 3)
    gaps = np.diff(np.flatnonzero(even))
    assert set(gaps[1:-1]) <= {1, 2, 3, 4, 5, 6} and np.median(gaps) == 4
    random = CartesianMask(4, "random", 0.1)
    assert not np.array_equal(random.lines(64, 0), random.lines(64, 1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(-3, 3), acceleration=st.floats(2, 8))
def test_what_was_measured_stays_exactly(seed: int, scale: float, acceleration: float) -> None:
    truth, guess = image(seed) * 10**scale, image(seed + 1) * 10**scale
    mask = torch.from_numpy(CartesianMask(acceleration).lines(17, seed)).float()
    kspace = to_kspace(truth)
    better = keep_measured(guess, kspace, mask)
    worst = contradiction(better, kspace, mask).max() / kspace.abs().max()
    assert worst < 1e-5
    others = (to_kspace(better) - to_kspace(guess)) * (1 - mask)
    assert others.abs().max() < 1e-5 * 10**scale * 10, "and what was not measured is as guessed"
    assert contradiction(zero_filled(kspace, mask), kspace, mask).max() / kspace.abs().max() < 1e-5


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("axes", [(), (-2,), (-1,), (-2, -1)])
@pytest.mark.parametrize("size", [(12, 16), (13, 17)])
def test_mirrored_k_space_is_that_of_the_mirrored_image(
    axes: tuple[int, ...], size: tuple[int, int], conjugate: bool
) -> None:
    mask = torch.from_numpy(CartesianMask(3.0).lines(size[1], 5)).float().reshape(1, 1, -1)
    kspace = to_kspace(image(3, 2, *size)) * mask
    other, lines = mirrored(kspace, mask, axes, conjugate)
    expected = to_image(kspace).flip(axes)
    assert torch.allclose(to_image(other), expected.conj() if conjugate else expected, atol=1e-5)
    assert not (other * (1 - lines)).any() and lines.sum() == mask.sum()
    back, same = mirrored(other, lines, axes, conjugate)
    assert torch.allclose(back, kspace, atol=1e-5) and torch.equal(same, mask)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"kind": "spiral"}, {"acceleration": 0.5}, {"centre": 1.5}):
        with pytest.raises(ValueError, match=r"no mask|at least 1"):
            CartesianMask(**wrong)

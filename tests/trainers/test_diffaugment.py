"""Differentiable augmentation: identity, exact geometry, masks, gradients, seeds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers import diffaugment
from trainers.diffaugment import DiffAugment, DiffAugmentSettings, augment

NOTHING = DiffAugmentSettings(brightness=0, contrast=0, translate=0, cutout=0)
EVERYTHING = DiffAugmentSettings(flip_axis=0, scale=0.2, rotate=0.3, image_channels=1)
SHAPES = [(6, 3, 12, 10), (4, 3, 8, 6, 10)]


def with_mask(shape: tuple[int, ...]) -> Tensor:
    """Images whose values tell their place, and one-hot masks of which are low and which high."""
    n, _, *spatial = shape
    image = torch.linspace(-0.9, 0.8, math.prod(spatial)).expand(n, -1).reshape(n, 1, *spatial)
    image = image + torch.linspace(0, 0.1, n).reshape(n, *[1] * (len(spatial) + 1))
    first = image < -0.3
    return torch.cat([image, first.float(), (~first).float()], 1)


def shifted(images: Tensor, shift: tuple[int, ...], background: tuple[float, ...]) -> Tensor:
    """A slow and plain translation."""
    out = torch.empty_like(images)
    for index in torch.cartesian_prod(*(torch.arange(s) for s in images.shape[1:])).tolist():
        source = [i - s for i, s in zip(index[1:], shift, strict=True)]
        inside = all(0 <= i < size for i, size in zip(source, images.shape[2:], strict=True))
        for n in range(len(images)):
            out[(n, *index)] = images[(n, index[0], *source)] if inside else background[index[0]]
    return out


def fix_shifts(monkeypatch: pytest.MonkeyPatch, *shifts: int) -> None:
    remaining = list(shifts)
    monkeypatch.setattr(torch, "randint", lambda low, high, size, device: torch.full(size, remaining.pop(0)))


# Every change


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_changes_at_probability_0(shape: tuple[int, ...]) -> None:
    images = with_mask(shape)
    assert torch.equal(augment(images, 0.0, EVERYTHING), images)
    assert torch.equal(augment(images, torch.tensor(0.0), EVERYTHING), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", ["brightness", "contrast", "translate", "cutout", "flip_axis", "scale", "rotate"])
def test_each_change_is_made_alone_with_its_probability_to_each_sample(shape: tuple[int, ...], change: str) -> None:
    torch.manual_seed(0)
    images = with_mask(shape)[:1].expand(200, *[-1] * (len(shape) - 1))
    only = replace(NOTHING, **{change: getattr(EVERYTHING, change)})
    changed = (augment(images, 0.5, only) != images).flatten(1).any(1)
    expected = 0.25 if change == "flip_axis" else 0.5
    assert changed.float().mean().item() == pytest.approx(expected, abs=0.12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_seed_says_all(shape: tuple[int, ...]) -> None:
    images = with_mask(shape)

    def once(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return augment(images, 0.8, EVERYTHING)

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_what_follows_is_as_random_whatever_the_probability() -> None:
    states = []
    for p in (0.0, 0.3, 1.0):
        torch.manual_seed(0)
        augment(with_mask(SHAPES[0]), p, EVERYTHING)
        states.append(torch.rand(1).item())
    assert len(set(states)) == 1


@pytest.mark.parametrize("shape", [(2, 2, 5, 4), (2, 1, 3, 3, 4)])
@pytest.mark.parametrize("change", ["brightness", "contrast", "translate", "cutout", "flip_axis", "scale", "rotate"])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...], change: str) -> None:
    images = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    only = replace(NOTHING, **{change: getattr(EVERYTHING, change)})

    def changed(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return augment(x, 1.0, only)

    tolerance = 1e-3 if change in ("scale", "rotate") else 1e-6  # resampled in float32
    step = 1e-2 if change in ("scale", "rotate") else 1e-6
    assert torch.autograd.gradcheck(changed, images, eps=step, atol=tolerance, nondet_tol=0)
    assert torch.autograd.grad(changed(images).sum(), images)[0].abs().sum() > 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_any_shape_and_type(spatial: list[int], n: int, channels: int, p: float, dtype: torch.dtype) -> None:
    images = (2 * torch.rand(n, channels, *spatial) - 1).to(dtype)
    out = augment(images, p, EVERYTHING)
    assert out.shape == images.shape and out.dtype is dtype and torch.isfinite(out).all()


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="2 or 3 spatial axes"):
        augment(torch.zeros(1, 1, 4), 1.0)
    with pytest.raises(ValueError, match="first 3 channels of 2"):
        augment(torch.zeros(1, 2, 4, 4), 1.0, DiffAugmentSettings(image_channels=3))
    with pytest.raises(ValueError, match="axis 2 to flip in 2D"):
        augment(torch.zeros(1, 1, 4, 4), 1.0, DiffAugmentSettings(flip_axis=2))
    for wrong in ({"translate": 1.5}, {"cutout": -0.1}, {"scale": 1.0}, {"rotate": -1}, {"background": ()}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DiffAugmentSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probability"):
        DiffAugment(p=1.2)


# Grey values


def test_brightness_is_one_shift_for_all_of_an_image() -> None:
    torch.manual_seed(0)
    images = torch.rand(500, 2, 3, 3)
    shift = augment(images, 1.0, replace(NOTHING, brightness=0.5)) - images
    assert torch.allclose(shift, shift[:, :1, :1, :1].expand_as(shift), atol=1e-6)
    assert -0.5 <= shift.min() < -0.45 and 0.45 < shift.max() <= 0.5001


def test_contrast_keeps_the_mean_and_scales_about_it() -> None:
    torch.manual_seed(0)
    images = torch.rand(500, 1, 3, 3, 3)
    changed = augment(images, 1.0, replace(NOTHING, contrast=0.5))
    axes = (1, 2, 3, 4)
    assert torch.allclose(changed.mean(axes), images.mean(axes), atol=1e-5)
    factor = changed.std(axes) / images.std(axes)
    assert 0.5 - 1e-4 < factor.min() < 0.55 and 1.45 < factor.max() < 1.5 + 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_grey_values_of_the_condition_are_left_alone(shape: tuple[int, ...]) -> None:
    images = with_mask(shape)
    changed = augment(images, 1.0, replace(NOTHING, brightness=0.5, contrast=0.5, image_channels=1))
    assert torch.equal(changed[:, 1:], images[:, 1:])
    assert not torch.allclose(changed[:, :1], images[:, :1])


# Geometry


@pytest.mark.parametrize(
    ("shape", "shift"), [((2, 3, 12, 10), (1, -1)), ((2, 3, 12, 10), (0, 1)), ((2, 3, 8, 6, 10), (1, -1, 1))]
)
def test_translation_moves_voxels_exactly(
    shape: tuple[int, ...], shift: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = with_mask(shape)
    fix_shifts(monkeypatch, *shift)
    moved = augment(images, 1.0, replace(NOTHING, translate=0.125, image_channels=1))
    assert torch.equal(moved, shifted(images, shift, (-1.0, 1.0, 0.0)))


def test_translations_reach_an_eighth_of_each_axis_and_differ_between_samples() -> None:
    torch.manual_seed(0)
    images = torch.full((400, 1, 16, 24), -1.0)
    images[:, 0, 8, 12] = 1.0
    places = augment(images, 1.0, replace(NOTHING, translate=0.125)).flatten(1).argmax(1)
    assert set((places // 24 - 8).tolist()) == set(range(-2, 3))
    assert set((places % 24 - 12).tolist()) == set(range(-3, 4))


def test_an_image_that_left_altogether_is_background(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_shifts(monkeypatch, 4, 4)
    assert (augment(torch.ones(1, 1, 4, 4), 1.0, replace(NOTHING, translate=1.0)) == -1).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", ["translate", "cutout", "flip_axis"])
def test_masks_move_with_the_image_and_stay_one_hot(shape: tuple[int, ...], change: str) -> None:
    torch.manual_seed(1)
    images = with_mask(shape)
    only = replace(NOTHING, **{change: getattr(EVERYTHING, change)}, image_channels=1)
    changed = augment(images, 1.0, only)
    image, mask = changed[:, 0], changed[:, 1:]
    assert set(mask.unique().tolist()) == {0.0, 1.0} and (mask.sum(1) == 1).all()
    assert not torch.equal(mask, images[:, 1:])
    assert torch.equal(mask[:, 0] == 1, image < -0.3)


@pytest.mark.parametrize("spatial", [(20, 24), (12, 14, 16)])
@pytest.mark.parametrize("change", ["scale", "rotate"])
def test_resampled_masks_move_with_the_image_and_stay_one_hot(spatial: tuple[int, ...], change: str) -> None:
    torch.manual_seed(1)
    inside = torch.zeros(8, 1, *spatial)
    inside[(slice(None), 0, *(slice(s // 8, s // 2) for s in spatial))] = 1
    only = replace(NOTHING, **{change: 0.4}, image_channels=1)
    changed = augment(torch.cat([2 * inside - 1, 1 - inside, inside], 1), 1.0, only)
    image, mask = changed[:, 0], changed[:, 1:]
    assert set(mask.unique().tolist()) == {0.0, 1.0} and (mask.sum(1) == 1).all()
    assert not torch.equal(mask[:, 1:], inside)
    assert (mask[:, 1][image > 0.9] == 1).all() and (mask[:, 0][image < -0.9] == 1).all()
    assert (image > 0.9).sum() > 0.3 * inside.sum()


def test_a_condition_that_is_an_image_gets_its_own_background(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_shifts(monkeypatch, 1, 0)
    chosen = replace(NOTHING, translate=0.25, image_channels=1, condition_background=(-0.5,))
    moved = augment(torch.zeros(1, 3, 4, 4), 1.0, chosen)
    assert moved[0, :, 0, 0].tolist() == [-1.0, -0.5, -0.5]


def test_a_label_map_that_is_the_image_gets_the_background_class(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_shifts(monkeypatch, 1, 0)
    moved = augment(torch.zeros(1, 3, 4, 4), 1.0, replace(NOTHING, translate=0.25, background=(1.0, 0.0)))
    assert moved[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_one_background_is_for_all_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_shifts(monkeypatch, 1, 0)
    moved = augment(torch.zeros(1, 2, 4, 4), 1.0, replace(NOTHING, translate=0.25, background=0.5))
    assert moved[0, :, 0, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("shape", [(300, 2, 16, 12), (300, 1, 8, 6, 10)])
def test_the_cut_out_is_a_box_of_half_the_size_or_what_is_left_of_it(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    hidden = augment(torch.ones(shape), 1.0, replace(NOTHING, cutout=0.5)) == -1
    assert (hidden == hidden[:, :1]).all()
    box = torch.ones_like(hidden[:, 0])
    for axis in range(1, hidden.ndim - 1):
        others = [a for a in range(1, hidden.ndim - 1) if a != axis]
        along = hidden[:, 0].any(others[0]) if len(others) == 1 else hidden[:, 0].any(others[1]).any(others[0])
        length = shape[axis + 1]
        assert along.sum(1).max() == length // 2 and along.sum(1).min() >= length // 4
        assert (along.int().diff(dim=1).abs().sum(1) <= 2).all()  # one piece
        assert along.any(0).all()  # reaches everywhere
        box &= along.reshape([len(along), *(length if a == axis else 1 for a in range(1, hidden.ndim - 1))])
    assert torch.equal(box, hidden[:, 0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_of_the_images_are_mirrored_on_the_chosen_axis(axis: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 2, 3, 4, 5).expand(400, -1, -1, -1, -1)
    flipped = augment(images, 1.0, replace(NOTHING, flip_axis=axis))
    mirrored = (flipped == images.flip(2 + axis)).flatten(1).all(1)
    assert torch.equal(mirrored | (flipped == images).flatten(1).all(1), torch.ones(400, dtype=torch.bool))
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.1)


def fix_uniform(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    remaining = list(values)
    shape = [1, 1, 1, 1]
    monkeypatch.setattr(diffaugment, "_uniform", lambda images: torch.full(shape, remaining.pop(0)))


def test_a_quarter_turn_of_a_long_image_turns_voxels_not_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point one voxel up the first axis from the centre lands one voxel along the second, in a 5 x 9 image."""
    images = torch.full((1, 1, 5, 9), -1.0)
    images[0, 0, 3, 4] = 1.0
    fix_uniform(monkeypatch, 1.0, 0.0)
    turned = augment(images, 1.0, replace(NOTHING, rotate=math.pi / 2))
    expected = torch.full((1, 1, 5, 9), -1.0)
    expected[0, 0, 2, 3] = 1.0
    mirrored = expected.flip(3)
    assert torch.allclose(turned, expected, atol=1e-4) or torch.allclose(turned, mirrored, atol=1e-4)


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_volume_turns_in_each_plane(plane: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ((0, 1), (0, 2), (1, 2))[plane]
    images = torch.full((1, 1, 5, 7, 9), -1.0)
    place, centre = [2, 3, 4], [2, 3, 4]
    place[first] += 1
    images[(0, 0, *place)] = 1.0
    fix_uniform(monkeypatch, *(1.0 if p == plane else 0.0 for p in range(3)), 0.0)
    turned = augment(images, 1.0, replace(NOTHING, rotate=math.pi / 2))
    found = [int(i) for i in torch.nonzero(turned[0, 0] > 0.9)[0]]
    moved = [f - c for f, c in zip(found, centre, strict=True)]
    assert abs(moved[second]) == 1 and sum(map(abs, moved)) == 1


def test_scaling_up_by_a_half_makes_a_block_half_as_large_again(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.full((1, 1, 24, 36), -1.0)
    images[0, 0, 8:16, 14:22] = 1.0
    fix_uniform(monkeypatch, 0.0, 1.0)
    larger = augment(images, 1.0, replace(NOTHING, scale=0.5))
    expected = torch.full((1, 1, 24, 36), -1.0)
    expected[0, 0, 6:18, 12:24] = 1.0
    assert torch.equal(larger > 0, expected > 0)
    assert larger.min() >= -1 and larger.max() <= 1


# The module


def test_the_module_leaves_images_alone_when_not_training() -> None:
    images, module = torch.rand(4, 1, 8, 8), DiffAugment()
    assert module.eval()(images) is images
    assert not torch.equal(module.train()(images), images)

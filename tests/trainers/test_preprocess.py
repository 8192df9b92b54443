"""Any orientation and spacing goes in, the same anatomy comes out, and results return to where they belong."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from trainers.data.volumes import Volume
from trainers.preprocess import CanonicalGrid, Window, normalise

ORIENTATIONS = [(p, s) for p in itertools.permutations(range(3)) for s in itertools.product((1, -1), repeat=3)]


def oriented(permutation: tuple[int, ...], signs: tuple[int, ...], spacing: float = 1.0) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (target, sign) in enumerate(zip(permutation, signs, strict=True)):
        affine[target, axis] = sign * spacing
    affine[:3, 3] = [11, -7, 30]
    return Volume(np.random.default_rng(1).random((9, 10, 11)).astype(np.float32), affine)


@pytest.mark.parametrize(("permutation", "signs"), ORIENTATIONS)
def test_every_orientation_is_seen_as_ras_and_comes_back_unchanged(
    permutation: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = oriented(permutation, signs)
    grid = CanonicalGrid(volume, (1, 1, 1))
    assert nib.aff2axcodes(grid.affine) == ("R", "A", "S")
    seen = grid.extract(volume.array, grid.whole())
    point = (volume.affine @ [2, 3, 4, 1])[:3]
    assert seen[tuple(np.round(grid.index(point)).astype(int))] == pytest.approx(volume.array[2, 3, 4])
    block, slices = grid.paste(seen[None], grid.whole())
    back = grid.oriented_zeros(np.float32)
    back[slices] = block[0]
    np.testing.assert_allclose(grid.to_native(back), volume.array, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.5, 2.5)] * 3),
    start=st.tuples(*[st.integers(-4, 12)] * 3),
)
def test_a_window_pastes_back_where_it_was_cut(spacing: tuple[float, ...], start: tuple[int, int, int]) -> None:
    """A ramp in world millimetres survives cutting and pasting, inside the image and the window."""
    affine = np.diag([*spacing, 1.0])
    index = np.stack(np.meshgrid(*map(np.arange, (20, 18, 16)), indexing="ij"))
    world = (index * np.reshape(spacing, (3, 1, 1, 1))).sum(0).astype(np.float32)
    grid = CanonicalGrid(Volume(world, affine), (1, 1, 1))
    window = Window(start, (12, 12, 12))
    block, slices = grid.paste(grid.extract(world, window)[None], window)
    if min(block.shape) < 5:
        return
    inner = (slice(2, -2),) * 3
    covered = grid.extract(np.ones_like(world), window).min() > 0.99
    if covered:
        np.testing.assert_allclose(block[0][inner], world[slices][inner], atol=2.0)


def test_outside_of_the_image_is_zero() -> None:
    volume = Volume(np.full((6, 6, 6), 5, np.float32), np.eye(4))
    grid = CanonicalGrid(volume, (1, 1, 1))
    seen = grid.extract(volume.array, Window((-3, 0, 0), (6, 6, 6)))
    assert (seen[:3] == 0).all() and (seen[3:] == 5).all()


def test_labels_keep_their_values_when_resampled() -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[4:16, 4:16, 4:10], label[4:16, 4:16, 10:16] = 3, 7
    grid = CanonicalGrid(Volume(label, np.diag([0.7, 0.7, 0.7, 1])), (1, 1, 1))
    seen = grid.extract_label(label, grid.whole())
    assert set(np.unique(seen)) == {0, 3, 7}
    volumes = [(seen == v).sum() / ((label == v).sum() * 0.343) for v in (3, 7)]
    assert all(0.85 < ratio < 1.15 for ratio in volumes)


def test_coarser_sampling_does_not_alias() -> None:
    checker = (np.indices((32, 32, 32)).sum(0) % 2).astype(np.float32)
    grid = CanonicalGrid(Volume(checker, np.diag([0.5, 0.5, 0.5, 1])), (1.5, 1.5, 1.5))
    assert np.abs(grid.extract(checker, grid.whole()) - 0.5).max() < 0.1


def test_normalise_does_not_depend_on_units_or_padding() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 12, 12)), 1)
    inside = np.zeros_like(image, bool)
    inside[2:] = True
    plain = normalise(image, inside)
    np.testing.assert_allclose(normalise(image * 1.7e6 + 50, inside), plain, atol=1e-4)
    assert (plain[:2] == 0).all()
    assert plain[2:].mean() == pytest.approx(0, abs=1e-5) and plain[2:].std() == pytest.approx(1, abs=1e-5)
    assert (normalise(np.full((3, 3, 3), 8)) == 0).all()

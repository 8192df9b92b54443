"""Any orientation and spacing goes in, the same anatomy comes out, and results return to where they belong."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from trainers import preprocess
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
    np.testing.assert_allclose(pasted(grid, seen, grid.whole()), volume.array, atol=1e-6)


def pasted(grid: CanonicalGrid, seen: np.ndarray, window: Window) -> np.ndarray:
    """A window's voxels on the volume's own grid, 0 elsewhere."""
    back = grid.oriented_zeros(np.float32)
    for block, slices in grid.paste(seen[None], window):
        back[slices] = block[0]
    return grid.to_native(back)


def turned(angles: tuple[float, float, float], spacing: tuple[float, float, float]) -> np.ndarray:
    """An affine turned about x, y and z (degrees) about a point inside the image."""
    affine = np.eye(4)
    for axis, angle in enumerate(np.radians(angles)):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        affine[:3, :3] = affine[:3, :3] @ turn
    affine[:3, :3] = affine[:3, :3] @ np.diag(spacing)
    affine[:3, 3] = [3.0, -8.0, 5.0]
    return affine


def world(affine: np.ndarray, shape: tuple[int, int, int], weights: tuple[float, ...] = (1.0, 2.0, -1.5)) -> np.ndarray:
    """A ramp that is linear in RAS mm, so that linear sampling must hit it exactly."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    place = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)
    return np.tensordot(weights, place, 1).astype(np.float32)


def inner(mask: np.ndarray, width: int = 3) -> np.ndarray:
    """The part of a mask that is at least `width` voxels from its border."""
    return ndimage.binary_erosion(mask, iterations=width, border_value=0)


@settings(max_examples=30, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.6, 2.2)] * 3),
    angles=st.tuples(*[st.sampled_from([-35.0, -8.0, 0.0, 8.0, 25.0])] * 3),
    flips=st.tuples(*[st.sampled_from([1.0, -1.0])] * 3),
)
def test_cutting_and_pasting_are_true_to_the_millimetre(
    spacing: tuple[float, float, float], angles: tuple[float, float, float], flips: tuple[float, float, float]
) -> None:
    affine = turned(angles, spacing) @ np.diag([*flips, 1.0])
    shape = (26, 24, 22)
    ramp = world(affine, shape)
    grid = CanonicalGrid(Volume(ramp, affine), (1, 1, 1))
    window = Window.around(grid.index((affine @ [13, 12, 11, 1])[:3]), (12, 12, 12))
    seen = grid.extract(ramp, window)
    moved = grid.affine.copy()
    moved[:3, 3] = (grid.affine @ [*window.start, 1])[:3]
    margin = int(np.ceil(2 * max(1 / s for s in spacing))) + 2
    deep = grid.extract(inner(np.ones(shape, bool), margin).astype(np.float32), window) > 0.999
    np.testing.assert_allclose(seen[deep], world(moved, window.size)[deep], atol=2e-2)
    exact = world(moved, window.size)
    back = pasted(grid, exact, window)
    covered = inner(pasted(grid, np.ones(window.size, np.float32), window) > 0.999, 2)
    np.testing.assert_allclose(back[covered], ramp[covered], atol=2e-2)


def test_a_tilted_scan_is_seen_upright() -> None:
    affine = turned((30.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    grid = CanonicalGrid(Volume(np.zeros((30, 30, 30)), affine), (1, 1, 1))
    np.testing.assert_allclose(grid.affine[:3, :3], np.eye(3), atol=1e-9)
    assert grid.contains((affine @ [29, 29, 29, 1])[:3]) and not grid.contains((affine @ [31, 0, 0, 1])[:3])
    slight = CanonicalGrid(Volume(np.zeros((30, 30, 30)), turned((5.0, 0.0, 0.0), (1.0, 1.0, 1.0))), (1, 1, 1))
    assert slight.shape == (30, 30, 30)


def test_pasting_in_slabs_is_pasting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).random((20, 18, 16)).astype(np.float32)
    grid = CanonicalGrid(Volume(array, np.diag([0.8, 1.1, 1.4, 1])), (1, 1, 1))
    seen = grid.extract(array, grid.whole())
    whole = pasted(grid, seen, grid.whole())
    monkeypatch.setattr(preprocess, "SLAB_VOXELS", 700)
    np.testing.assert_allclose(pasted(grid, seen, grid.whole()), whole, atol=1e-6)


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

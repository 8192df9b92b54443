"""Sampling axis by axis gives the sums of scipy.ndimage, reads a volume slice by slice, and copies nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from trainers.resampling import interpolated, smoothed

AXES = st.tuples(
    st.integers(1, 14), st.floats(0.3, 4.0), st.floats(-3.0, 5.0), st.integers(1, 12), st.sampled_from([0.0, 0.4, 2.0])
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    axes=st.tuples(AXES, AXES, AXES), flips=st.tuples(*[st.sampled_from([1, -1])] * 3), order=st.permutations(range(3))
)
def test_smoothing_and_sampling_are_scipys(axes: tuple, flips: tuple[int, ...], order: list[int]) -> None:
    shape, step, offset, size, sigma = zip(*axes, strict=True)
    stored = np.random.default_rng(0).integers(-1000, 1000, [shape[a] for a in order]).astype(np.int16)
    array = stored.transpose(np.argsort(order))[tuple(slice(None, None, f) for f in flips)]
    smooth = ndimage.gaussian_filter(array.astype(np.float64), sigma)
    expected = ndimage.affine_transform(smooth, np.array(step), offset, size, order=1, mode="nearest")
    made = smoothed(array, step, offset, size, sigma)
    assert made.dtype == np.float32 and made.shape == size
    np.testing.assert_allclose(made, expected, atol=2e-3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(axes=st.tuples(AXES, AXES, AXES))
def test_interpolation_is_scipys_and_nothing_is_beyond_half_a_voxel(axes: tuple) -> None:
    shape, step, offset, size, _ = zip(*axes, strict=True)
    maps = 1 + np.random.default_rng(1).random((2, *shape), np.float32)
    made = interpolated(maps, step, offset, size)
    inside = np.ones(size, bool)
    for axis in range(3):
        place = offset[axis] + step[axis] * np.arange(size[axis])
        held = (place >= -0.5001) & (place <= shape[axis] - 0.4999)
        inside &= held.reshape([-1 if a == axis else 1 for a in range(3)])
    for one, expected in zip(made, maps, strict=True):
        whole = ndimage.affine_transform(expected, np.array(step), offset, size, order=1, mode="nearest")
        np.testing.assert_allclose(one, whole * inside, atol=1e-5)


@pytest.mark.parametrize("slices", [40, 80])
def test_a_volume_is_not_copied(slices: int) -> None:
    array = np.zeros((128, 128, slices), np.int16, order="F")
    tracemalloc.start()
    made = smoothed(array, (4, 4, 4), (1.5, 1.5, 1.5), (32, 32, slices // 4), (1.5, 1.5, 1.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.shape == (32, 32, slices // 4) and peak < array.nbytes

"""Whatever the weights, orientation and size: the result lies where the image lies and agrees with it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Cancelled, Monitor
from trainers.networks import build
from trainers.spec import ModelSpec
from trainers.tasks.reconstruction import infer
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.tiles import finer, tiles

ISOTROPIC, THICK = (2, 2, 2), (1, 1, 2)


def stirred(network: dict[str, Any], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module = build(network)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def reconstructor(factors: tuple[int, ...] = ISOTROPIC, gan: bool = True) -> Reconstructor:
    network = {"name": "SuperResolver", "spatial_dims": 3, "factors": list(factors), "channels": 6, "fine_channels": 4}
    return wrapped({**network, "blocks": 1}, {"measurement": "super_resolution", "factors": list(factors)}, gan)


def denoiser() -> Reconstructor:
    return wrapped({"name": "Denoiser", "spatial_dims": 3, "channels": 6, "blocks": 1}, {"measurement": "noise"}, True)


def wrapped(network: dict[str, Any], preprocess: dict[str, Any], gan: bool) -> Reconstructor:
    spec = ModelSpec("m", "reconstruction", "M", "", network, preprocess)
    return Reconstructor.from_networks(spec, stirred(network, 0), stirred(network, 1) if gan else None)


def head(shape: tuple[int, ...] = (9, 12, 7), axes: tuple[int, ...] = (0, 1, 2), flips: tuple[int, ...] = ()) -> Volume:
    """The same anatomy, stored with its axes in another order and direction; 1 x 1 x 3 mm, patients' z the thickest."""
    random = np.random.default_rng(0)
    array = random.normal(500, 100, shape).astype(np.float32)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = -20, 30, 10
    affine = affine @ np.eye(4)[:, [*axes, 3]]
    array = np.ascontiguousarray(array.transpose(axes))
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    return Volume(np.ascontiguousarray(array), affine)


def corners(volume: Volume) -> np.ndarray:
    """Outer corners of the first and the last voxel and between, RAS mm, in a fixed order."""
    ends = np.array([*product(*[(-0.5, n - 0.5) for n in volume.shape])])
    found = (volume.affine @ np.c_[ends, np.ones(8)].T).T[:, :3]
    return found[np.lexsort(found.T)]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
@pytest.mark.parametrize("factors", [ISOTROPIC, THICK])
def test_orientation_changes_nothing(axes: tuple[int, ...], flips: tuple[int, ...], factors: tuple[int, ...]) -> None:
    model = reconstructor(factors)
    plain, turned = model(head(), 0.5), model(head(axes=axes, flips=flips), 0.5)
    assert np.allclose(corners(plain.image), corners(head()), atol=1e-9), "voxel edges stay"
    assert np.allclose(corners(turned.image), corners(plain.image), atol=1e-9)
    assert turned.image.spacing == pytest.approx(head(axes=axes).spacing / np.array(factors)[list(axes)])
    back = np.flip(turned.image.array, flips).transpose(np.argsort(axes))
    assert np.allclose(back, plain.image.array, rtol=1e-4, atol=0.05)
    assert turned.uncertainty.shape == turned.image.shape and (turned.uncertainty.array > 0).all()


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 14)] * 3), strength=st.floats(0, 1), scale=st.sampled_from([2, 4]),
    size=st.floats(-3, 5),
)  # fmt: skip
def test_any_image_agrees_with_its_finer_one(shape: tuple[int, ...], strength: float, scale: int, size: float) -> None:
    volume = head(shape)
    volume = volume.like((volume.array * 10**size).astype(np.float32))
    found = reconstructor()(volume, strength, scale)
    assert found.image.shape == tuple(scale * n for n in shape)
    blocks = found.image.array.astype(float).reshape(*[m for n in shape for m in (n, scale)]).mean((1, 3, 5))
    assert np.linalg.norm(blocks - volume.array) < 1e-3 * np.linalg.norm(volume.array)
    assert found.contradiction is not None and found.contradiction < 1e-3


@pytest.mark.parametrize("flips", [(), (0, 1), (2,)])
def test_large_results_are_not_copied(flips: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[np.ndarray] = []
    plain = infer.empty
    monkeypatch.setattr(infer, "empty", lambda *given: made.append(plain(*given)) or made[-1])
    found = reconstructor(THICK)(head(axes=(1, 2, 0), flips=flips))
    assert np.shares_memory(found.image.array, made[0]) and np.shares_memory(found.uncertainty.array, made[1])
    assert found.image.array.flags.f_contiguous, "as files have it"


def test_tiles_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = head((21, 18, 16))
    for model in (reconstructor(), denoiser()):
        whole = model(volume, 0.3)
        monkeypatch.setattr(Reconstructor, "side", 8)
        tiled = model(volume, 0.3)
        monkeypatch.undo()
        assert np.allclose(tiled.image.array, whole.image.array, rtol=1e-4, atol=1e-2)
        assert np.allclose(tiled.uncertainty.array, whole.uncertainty.array, rtol=1e-3, atol=1e-2)


def test_air_is_not_doubted_more_than_its_noise_is_worth() -> None:
    random = np.random.default_rng(0)
    array = random.normal(500, 100, (12, 12, 12)).astype(np.float32)
    array[:6] = random.uniform(0, 4, (6, 12, 12))
    doubt = reconstructor()(Volume(array, np.eye(4))).uncertainty.array
    assert doubt[:10].max() <= 2 < 10 < np.median(doubt[12:])


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=3), side=st.integers(1, 9), halo=st.integers(0, 5))
def test_tiles_are_the_volume_once(shape: list[int], side: int, halo: int) -> None:
    count, fine = np.zeros(shape), np.zeros([2 * n for n in shape])
    values = np.arange(np.prod(shape)).reshape(shape)
    for tile in tiles(shape, side, halo):
        count[tile.kept] += 1
        fine[finer(tile.kept, [2] * len(shape))] += 1
        assert np.array_equal(values[tile.seen][tile.inner], values[tile.kept])
    assert (count == 1).all() and (fine == 1).all()


def test_tiles_keep_multiples() -> None:
    assert all(s.start % 2 == 0 and s.stop % 2 == 0 for tile in tiles((30, 22), 8, 4, (2, 2)) for s in tile.seen)
    with pytest.raises(ValueError, match="do not fit"):
        tiles((30, 22), 7, 4, (2, 2))


def test_a_denoised_image_keeps_its_grid_and_says_that_a_gan_was_used() -> None:
    volume = head((9, 12, 7))
    safe, altered = denoiser()(volume), denoiser()(volume, 1.0)
    assert safe.image.shape == volume.shape and np.array_equal(safe.image.affine, volume.affine)
    assert safe.warnings == [] and "GAN" in altered.warnings[0] and safe.contradiction is None
    change = np.abs(altered.image.array - safe.image.array)
    assert (altered.uncertainty.array >= change * 0.999 - 1e-3).all(), "what the GAN changed is doubted"
    half = denoiser()(volume, 0.5).image.array
    assert np.allclose(half, (safe.image.array + altered.image.array) / 2, rtol=1e-4), "a blend of both"


def test_what_there_is_not_is_told() -> None:
    with pytest.raises(ValueError, match=r"choose one of \[2, 4\]"):
        reconstructor()(head(), scale=3)
    with pytest.raises(ValueError, match=r"no strength 1\.5"):
        reconstructor()(head(), 1.5)
    with pytest.raises(ValueError, match="no adversarial weights"):
        reconstructor(gan=False)(head(), 0.5)
    with pytest.raises(VolumeError, match="at least 4"):
        reconstructor()(head((9, 12, 3)))


def test_progress_is_told_and_it_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconstructor, "side", 8)
    heard: list[float] = []

    class Ear(Monitor):
        def report(self, **state: Any) -> None:
            heard.append(state["progress"])

        def check(self) -> None:
            if len(heard) > 5:
                raise Cancelled

    with pytest.raises(Cancelled):
        reconstructor()(head((20, 20, 20)), scale=4, monitor=Ear())
    assert heard == sorted(heard) and 0 < heard[-1] < 0.5


def test_large_images_are_measured_in_tiles_and_slices_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, coarse = reconstructor(gan=False), torch.from_numpy(head((23, 9, 8)).array[None, None])
    whole = model.run("l1", {"coarse": coarse}, turns=2)
    monkeypatch.setattr(Reconstructor, "side", 8)
    tiled = model.run("l1", {"coarse": coarse}, turns=2)
    assert tiled.image.shape == (1, 1, 92, 36, 32)
    for one, two in zip(whole, tiled, strict=True):
        assert torch.allclose(one, two, rtol=1e-3, atol=0.5 if one is whole.image else 1e-2)


@pytest.mark.parametrize("strength", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(12, 14, 10), (40, 20, 16)], ids=["at once", "in tiles"])
def test_the_image_alone_is_the_same_image(shape: tuple[int, ...], strength: float) -> None:
    model, volume = (
        reconstructor(),
        Volume(np.random.default_rng(0).normal(500, 100, shape).astype(np.float32), np.eye(4)),
    )
    model.side, model.halo = 16, 4
    both = model(volume, strength)
    alone = model.reconstruct({"image": volume}, strength, uncertainty=False)
    assert alone.uncertainty is None and both.uncertainty is not None
    assert np.array_equal(alone.image.array, both.image.array) and alone.contradiction == both.contradiction

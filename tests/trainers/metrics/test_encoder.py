"""The encoder learns from real images alone, can be rebuilt, sees what generators get wrong, and refuses bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.losses.contrastive import nt_xent
from trainers.metrics.distribution import kid
from trainers.metrics.encoder import (
    EncoderConfig,
    EncoderTask,
    check_images,
    describe_encoder,
    extract_features,
    train_encoder,
)
from trainers.metrics.views import DEGRADATIONS, blur, degrade, random_view
from trainers.monitor import Cancelled, Monitor
from trainers.networks.encoder import BOUND, FeatureEncoder

TINY = EncoderConfig(100, 24, learning_rate=1e-2, channels=(8, 16), features=16, degradation=3.0, seed=1)


def textured(n: int, size: int = 16, dims: int = 2, seed: int = 0) -> np.ndarray:
    """Images (n, 1, ...) of a bright ellipsoid with fine stripes, each of its own place, width and phase."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * dims, indexing="ij"))
    out = []
    for _ in range(n):
        centre = random.uniform(-0.3, 0.3, dims).reshape(-1, *[1] * dims)
        radius = np.sqrt(((grid - centre) ** 2).sum(0)) / random.uniform(0.4, 0.8)
        stripes = 0.25 * np.sin(random.uniform(12, 18) * grid[0] + random.uniform(0, 6))
        out.append(np.where(radius < 1, 0.4 + stripes, -0.8))
    return np.array(out, dtype=np.float32)[:, None]


@pytest.fixture(scope="module")
def encoder() -> FeatureEncoder:
    return train_encoder(textured(200), config=TINY)


def test_nt_xent_by_hand() -> None:
    one, two = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # each view is equal to its partner (cosine 1) and at right angles to the two others
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 2))
    assert float(nt_xent(one, two, 0.5)) == pytest.approx(expected, rel=1e-6)


def test_nt_xent_prefers_the_right_partner_and_ignores_length_and_side() -> None:
    one, two = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(6, 4)
    two += one + 0.1
    loss = nt_xent(one, two)
    assert loss < nt_xent(one, two.roll(1, 0))
    assert torch.isclose(loss, nt_xent(two, one)) and torch.isclose(loss, nt_xent(5 * one, two))


@pytest.mark.parametrize("dims", [2, 3])
def test_one_definition_for_2d_and_3d(dims: int) -> None:
    network = FeatureEncoder(dims, 2)
    assert network(torch.zeros(3, 2, *[17, 24, 16][:dims])).shape == (3, 64)
    assert sum(p.numel() for p in network.parameters()) < 400_000
    assert not list(network.buffers())


def test_features_do_not_depend_on_the_batch_and_are_bounded(encoder: FeatureEncoder) -> None:
    images = textured(7, seed=5)
    together = extract_features(encoder, images)
    alone = np.concatenate([extract_features(encoder, image[None], batch=1) for image in images])
    assert together.dtype == np.float64 and together.shape == (7, 16)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    noise = np.random.default_rng(0).uniform(-1, 1, images.shape).astype(np.float32)
    assert np.abs(extract_features(encoder, noise)).max() <= BOUND


def test_features_are_standardised_over_the_training_images(encoder: FeatureEncoder) -> None:
    with torch.no_grad():
        raw = encoder.raw(torch.from_numpy(textured(200)))
    torch.testing.assert_close(raw.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(raw.std(0), torch.ones(16), atol=1e-3, rtol=0)


def test_it_is_rebuilt_from_its_description(encoder: FeatureEncoder) -> None:
    described = describe_encoder(encoder)
    assert described.pop("name") == "FeatureEncoder"
    again = FeatureEncoder(**described)
    again.load_state_dict(encoder.state_dict())
    np.testing.assert_array_equal(
        extract_features(again, textured(3, seed=2)), extract_features(encoder, textured(3, seed=2))
    )


def test_training_repeats_exactly_and_depends_on_the_seed() -> None:
    images = textured(12)
    config = EncoderConfig(steps=3, batch_size=4, channels=(4,), features=4)
    one, two = (extract_features(train_encoder(images, config=config), images) for _ in range(2))
    other = extract_features(
        train_encoder(images, config=EncoderConfig(steps=3, batch_size=4, channels=(4,), features=4, seed=9)), images
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-3


def test_3d_images_with_classes_train() -> None:
    images, losses = textured(12, 8, 3), []

    class Ear(Monitor):
        def report(self, **state: Any) -> None:
            losses.append(state["loss"])

    targets = np.arange(12) % 2
    config = EncoderConfig(40, 6, learning_rate=1e-2, channels=(4, 8), features=8)
    encoder = train_encoder(images, targets, config, Ear())
    assert extract_features(encoder, images).shape == (12, 8)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_classes_reach_the_features() -> None:
    """With the class head alone, the features separate classes that the other losses would not care for."""
    images = textured(60, seed=3)
    targets = (images.mean((1, 2, 3)) > np.median(images.mean((1, 2, 3)))).astype(int)
    config = EncoderConfig(80, 32, channels=(8, 16), features=8, contrastive=0, degradation=0, targets=1.0)
    features = extract_features(train_encoder(images, targets, config), images)
    apart = np.linalg.norm(features[targets == 0].mean(0) - features[targets == 1].mean(0))
    mixed = np.linalg.norm(features[::2].mean(0) - features[1::2].mean(0))
    assert apart > 3 * mixed


def test_kid_grows_with_blur_and_with_noise(encoder: FeatureEncoder) -> None:
    images = textured(300, seed=7)
    real, others = extract_features(encoder, images[:150]), torch.from_numpy(images[150:])
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(others.shape, generator=random)

    def score(changed: torch.Tensor) -> float:
        return kid(real, extract_features(encoder, changed.clamp(-1, 1).numpy()), subsets=20).mean

    blurred = [score(blur(others, torch.full((150,), sigma))) for sigma in (0.5, 1.0, 2.0)]
    noisy = [score(others + sigma * noise) for sigma in (0.2, 0.4, 0.8)]
    floor = score(others)
    assert abs(floor) < 0.2 * blurred[0] and abs(floor) < 0.4 * noisy[0]
    assert blurred == sorted(blurred) and noisy == sorted(noisy)


def test_a_cancel_stops_the_training() -> None:
    class Stop(Monitor):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        train_encoder(textured(8), config=TINY, monitor=Stop())


def test_batches_depend_on_step_and_rank_alone() -> None:
    task = EncoderTask(textured(10), np.arange(10), TINY)
    first, again, later, other = task.batch(3, 4, 0), task.batch(3, 4, 0), task.batch(4, 4, 0), task.batch(3, 4, 1)
    assert set(first) == {"one", "two", "copy", "kind", "target"}
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["one"], later["one"]) and not torch.equal(first["one"], other["one"])


def test_identity_tells_data_and_settings_apart() -> None:
    one, two = EncoderTask(textured(8), config=TINY), EncoderTask(textured(8, seed=1), config=TINY)
    assert one.identity() != two.identity()
    assert one.identity() == EncoderTask(textured(8), config=TINY).identity()


@pytest.mark.parametrize("dims", [2, 3])
def test_views_keep_shape_and_range_and_degradations_do_what_they_say(dims: int) -> None:
    images = torch.from_numpy(textured(5, 16, dims))
    random = torch.Generator().manual_seed(0)
    view = random_view(images, random)
    assert view.shape == images.shape and float(view.abs().max()) <= 1
    assert not torch.allclose(view, images)
    roughness = {}
    for index, name in enumerate(DEGRADATIONS):
        changed = degrade(images, torch.full((5,), index), random)
        assert changed.shape == images.shape and float(changed.abs().max()) <= 1
        assert (name == "clean") == torch.equal(changed, images)
        roughness[name] = float(changed.diff(dim=-1).abs().mean())
    assert roughness["blurred"] < roughness["clean"] < min(roughness["noisy"], roughness["checkered"])


def test_each_image_is_degraded_in_its_own_way() -> None:
    images = torch.from_numpy(textured(2))
    changed = degrade(images, torch.tensor([0, 2]), torch.Generator().manual_seed(0))
    assert torch.equal(changed[0], images[0]) and not torch.equal(changed[1], images[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_blur_matches_scipy(dims: int) -> None:
    from scipy.ndimage import gaussian_filter

    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, *[12] * dims))
    sigmas = (0.6, 1.0)
    ours = blur(torch.from_numpy(images), torch.tensor(sigmas, dtype=torch.float64)).numpy()
    for mine, image, sigma in zip(ours, images, sigmas, strict=True):
        truth = gaussian_filter(image[0], sigma, mode="nearest", radius=3)
        np.testing.assert_allclose(mine[0], truth, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.9, 0.9), st.floats(0.3, 2.0))
def test_blur_leaves_flat_images_alone(value: float, sigma: float) -> None:
    flat = torch.full((1, 1, 9, 9), value)
    torch.testing.assert_close(blur(flat, torch.tensor([sigma])), flat, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28)), "give \\(n, channel"),
        (np.zeros((0, 1, 8, 8)), "at least 1"),
        (np.full((2, 1, 8, 8), 255.0), "scale them to \\[-1, 1\\]"),
        (np.full((2, 1, 8, 8), np.nan), "not finite"),
    ],
)
def test_bad_images_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_images(images)


def test_bad_training_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="3 training images; at least 4"):
        train_encoder(textured(3))
    for targets in ([0, 1], [0.5] * 8, [-1] * 8):
        with pytest.raises(ValueError, match="8 class numbers"):
            train_encoder(textured(8), targets)
    with pytest.raises(ValueError, match="takes 2 or 3"):
        FeatureEncoder(4)
    with pytest.raises(ValueError, match="at least one stage"):
        FeatureEncoder(2, channels=())


@pytest.mark.realdata
def test_radiographs_blurred_and_noisy_are_told_from_real_ones(real_data: Path) -> None:
    found = sorted((real_data / "pneumoniamnist").glob("*.npz"))
    if not found:
        pytest.skip("no pneumoniamnist")
    images = np.load(found[0])["train_images"][:, None].astype(np.float32) / 127.5 - 1
    images = images[np.random.default_rng(0).permutation(len(images))[:2000]]  # the file is sorted by class
    encoder = train_encoder(images[:1000], config=EncoderConfig(steps=100))
    real, others = extract_features(encoder, images[:1000]), torch.from_numpy(images[1000:])
    noise = 0.2 * torch.randn(others.shape, generator=torch.Generator().manual_seed(0))

    def score(changed: torch.Tensor) -> float:
        return kid(real, extract_features(encoder, changed.clamp(-1, 1).numpy()), subsets=20).mean

    same, blurred, noisy = score(others), score(blur(others, torch.full((1000,), 1.0))), score(others + noise)
    assert abs(same) < 0.1 * blurred and blurred < noisy

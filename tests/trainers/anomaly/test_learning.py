"""Spoiled images, the networks that learn from them, and the look of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.trainers.anomaly.world import SIZE, picture, volume
from trainers.tasks.anomaly.corruption import KINDS, spoil, waves
from trainers.tasks.anomaly.methods.fanogan import FAnoGAN, MappingConfig, MappingTask
from trainers.tasks.anomaly.methods.intensity import GreyRarity
from trainers.tasks.anomaly.methods.nearest import NearestFeatures, farthest
from trainers.tasks.anomaly.methods.reading import smooth
from trainers.tasks.anomaly.methods.typical import TypicalDetail
from trainers.tasks.anomaly.restoring import JUDGE, RESTORER, RestoringConfig, RestoringTask


def unit(images: list[np.ndarray]) -> np.ndarray:
    return np.stack([2 * image / 255 - 1 for image in images]).astype(np.float32)[:, None]


@pytest.fixture(scope="module")
def healthy() -> np.ndarray:
    return unit([picture(seed) for seed in range(60)])


@pytest.mark.parametrize("kind", list(KINDS))
def test_only_what_is_marked_is_spoiled_and_it_can_be_seen(
    kind: str, healthy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.tasks.anomaly.corruption.KINDS", {kind: KINDS[kind]})
    shares = []
    for seed in range(20):
        image, other = healthy[seed], healthy[seed + 20]
        spoilt, mask = spoil(image, other, np.random.default_rng(seed))
        assert spoilt.shape == image.shape and spoilt.dtype == np.float32 and np.abs(spoilt).max() <= 1
        outside = np.abs(spoilt - image)[0][~mask]
        assert outside.mean() < 0.1 * image.std()
        if mask.any():
            assert np.abs(spoilt - image)[0][mask].mean() > outside.mean()
        shares.append(mask.mean())
    assert 0 < np.mean(shares) < 0.6


def test_spoiling_is_repeatable_and_works_on_volumes_with_channels() -> None:
    image = np.stack([volume(0), volume(1)]) / 500 - 1
    one, two = (spoil(image.astype(np.float32), image[::-1].copy(), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and one[1].shape == image.shape[1:]


def test_waves_are_smooth_with_unit_deviation() -> None:
    field = waves((40, 50), 6.0, np.random.default_rng(0))
    assert field.shape == (40, 50) and field.std() == pytest.approx(1, abs=1e-3) and abs(field.mean()) < 1e-3
    assert np.abs(np.diff(field, axis=0)).mean() < 0.4


def test_the_losses_by_hand(healthy: np.ndarray) -> None:
    task = RestoringTask(healthy[:40], healthy[40:], RestoringConfig(channels=(4, 8), adversarial=0.1))
    batch = task.batch(0, 4, 0)
    spoilt, mask = batch["spoilt"], batch["mask"]
    with torch.no_grad():
        restored = spoilt + task.networks[RESTORER](spoilt)
        filled = spoilt * (1 - mask) + restored * mask
        judged = task.networks[JUDGE](filled)
        logits = task.networks[JUDGE](torch.cat([filled[:1], spoilt[1:]]))  # a quarter as the restorer filled them
        found = {**task._judge_losses(batch), **task._restorer_losses(batch)}
    pairs = zip(logits.sigmoid()[1:], mask[1:], strict=True)
    overlap = [(2 * (s * m).sum() + 1) / (s.sum() + m.sum() + 1) for s, m in pairs]
    apart = (restored - batch["image"]).abs()
    assert found["restore"] == pytest.approx(2 * float(apart.mean() + apart[mask > 0].mean()), rel=1e-5)
    wanted = -functional.logsigmoid(-judged)[mask > 0].mean()  # -log(1 - D): the judge is to take it for healthy
    assert found["adversarial"] == pytest.approx(0.1 * float(wanted), rel=1e-4)
    assert found["overlap"] == pytest.approx(0.5 * (1 - float(torch.stack(overlap).mean())), rel=1e-4)
    bce = -(mask * functional.logsigmoid(logits) + (1 - mask) * functional.logsigmoid(-logits)).mean()
    assert found["spoilt"] == pytest.approx(float(bce), rel=1e-4)


def test_a_batch_depends_on_seed_step_and_rank(healthy: np.ndarray) -> None:
    config = RestoringConfig((12, 8), (4, 8))
    one, again = (RestoringTask(healthy[:40], healthy[40:], config).batch(2, 3, 0) for _ in range(2))
    other = RestoringTask(healthy[:40], healthy[40:], config).batch(2, 3, 1)
    assert all(torch.equal(one[k], again[k]) for k in one) and not torch.equal(one["spoilt"], other["spoilt"])
    assert one["image"].shape == (3, 1, 12, 8)


def test_smoothing_keeps_the_size_and_what_is_flat() -> None:
    flat = torch.full((2, 1, 9, 7, 5), 3.0)
    torch.testing.assert_close(smooth(flat, 1.0), flat, rtol=1e-4, atol=0)
    spot = torch.zeros(1, 1, 15, 15)
    spot[..., 7, 7] = 1
    found = smooth(spot, 1.5)
    assert found.shape == spot.shape and found.sum().item() == pytest.approx(1, abs=1e-2) and found.max() < 0.1


def test_more_and_less_detail_than_usual_is_unusual(healthy: np.ndarray) -> None:
    look = TypicalDetail((2, 2), (0.7, 1.4))
    look.learn(healthy[:50])
    usual = look(torch.from_numpy(healthy[50:]))
    flat = smooth(torch.from_numpy(healthy[50:]), 1.0)
    rough = torch.from_numpy(healthy[50:]) + 0.2 * torch.randn(healthy[50:].shape)
    assert 0.4 < usual.mean() < 2
    assert look(flat).min() > usual.max() and look(rough).min() > usual.max()


def test_the_distance_is_that_of_mahalanobis(healthy: np.ndarray) -> None:
    look = TypicalDetail((2, 2), (0.7,))
    look.learn(healthy)
    apart = (look.energies(torch.from_numpy(healthy[:1])) - look.mean).double()[0]
    by_hand = float(apart @ look.precision.double() @ apart) / len(apart)
    assert look(torch.from_numpy(healthy[:1])).item() == pytest.approx(by_hand**0.5, rel=1e-4)


def test_a_rare_grey_is_hot(healthy: np.ndarray) -> None:
    method = GreyRarity.learned(healthy)
    image = torch.from_numpy(healthy[:1].copy())
    before = method(image)
    image[..., 8:12, 6:10] = 1.0
    after = method(image)
    assert after.heat[0, 0, 10, 8] > before.heat.max() and after.score > before.score
    counts, _ = np.histogram(healthy, 64, (-1, 1))
    assert method.rarity[0, 40].item() == pytest.approx(-np.log((counts[40] + 1) / (counts.sum() + 64)), rel=1e-5)


def test_the_bank_covers_what_is_far_apart() -> None:
    rows = torch.tensor([[0.0, 0], [0.1, 0], [5, 0], [0, 5], [0.2, 0.1]])
    assert {tuple(r) for r in farthest(rows, 3).tolist()} == {(0.0, 0.0), (5.0, 0.0), (0.0, 5.0)}


def test_nearest_features_of_the_bank_are_no_distance_away(healthy: np.ndarray) -> None:
    from trainers.networks.encoder import FeatureEncoder

    described = {"spatial_dims": 2, "in_channels": 1, "channels": [4, 8], "features": 8}
    method = NearestFeatures.learned(described, FeatureEncoder(**described), healthy[:5], size=5 * 80)
    inside, outside = method(torch.from_numpy(healthy[:1])), method(-torch.from_numpy(healthy[:1]))
    assert inside.score.item() < 1e-3 < outside.score.item()
    assert outside.heat.shape == (1, 1, *SIZE)


def test_izi_f_loss_and_score_by_hand(healthy: np.ndarray) -> None:
    from tests.trainers.anomaly.world import recipe

    reference = recipe().reference
    assert reference is not None
    model = FAnoGAN(**reference.described(SIZE, 1)).eval()
    task = MappingTask(model, healthy[:40], healthy[40:], MappingConfig((4, 8)))
    batch = task.batch(0, 4, 0)
    losses = task._losses(batch)
    with torch.no_grad():
        made = model.restored(batch["image"])
        pixels = (batch["image"] - made).square().mean()
        features = (model.features(batch["image"]) - model.features(made)).square().mean()
        reading = model(batch["image"])
    assert losses["image"].item() == pytest.approx(pixels.item(), rel=1e-5)
    assert losses["features"].item() == pytest.approx(features.item(), rel=1e-5)
    assert reading.score.mean().item() == pytest.approx((pixels + features).item(), rel=1e-4)
    losses["image"].backward()
    assert all(p.grad is None for p in model.generator.parameters())

"""Batches of pairs, and a network that learns from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trainers.fit import fit
from trainers.task import FitConfig
from trainers.tasks.fusion.task import DISCRIMINATORS, WATCHED, FusionConfig, FusionTask, Study, some_pairs
from trainers.tasks.fusion.windows import Windows

from .conftest import network

CONFIG = FusionConfig(patch=(48, 48), own_windows=1.0)


@pytest.fixture
def studies() -> list[Study]:
    """Two patients: a bar in CT, another in MR, a spot in PET, 40 x 36 x 8."""
    x, y, _ = np.meshgrid(np.arange(40), np.arange(36), np.arange(8), indexing="ij")
    random, found = np.random.default_rng(0), []
    for shift in (0, 5):
        ct = -100.0 + 250 * (np.abs(x - 15 - shift) < 4) + random.normal(0, 10, x.shape)
        mr = 200.0 + 700 * (np.abs(y - 12 - shift) < 4) + random.normal(0, 20, x.shape)
        pet = 1 + 8 * np.exp(-((x - 25) ** 2 + (y - 20 - shift) ** 2) / 40)
        found.append({"CT": ct, "MR_T1": mr, "PET_SUV": pet})
    return [{name: array.astype(np.float32) for name, array in study.items()} for study in found]


def test_a_batch_depends_on_seed_step_and_rank(studies: list[Study]) -> None:
    task = FusionTask(network(), studies, config=CONFIG)
    batch = task.batch(3, 8, 0)
    shapes = {**dict.fromkeys(("image", "second", "uptake"), (8, 1, 48, 48)), "asked": (8, 1, 1, 1)}
    assert {k: tuple(v.shape) for k, v in batch.items()} == shapes
    assert all(v.min() >= 0 and v.max() <= 1 for v in batch.values())
    again, other = FusionTask(network(), studies, config=CONFIG).batch(3, 8, 0), task.batch(3, 8, 1)
    assert all(torch.equal(batch[k], again[k]) for k in batch) and not torch.equal(batch["image"], other["image"])


def test_contrast_and_entropy_count_when_choosing_is_over(studies: list[Study]) -> None:
    task = FusionTask(network().train(), studies, config=replace(CONFIG, choosing=5, deviation=2.0, variety=2.0))
    early, late = (task._generator_losses(task.batch(step, 2, 0)) for step in (4, 5))
    assert early["contrast"] == early["entropy"] == 0 < late["contrast"] < late["entropy"] * 10


def test_uptake_is_the_pet_of_pairs_that_have_one(studies: list[Study]) -> None:
    batch = FusionTask(network(), studies, config=CONFIG).batch(0, 24, 0)
    kinds = [
        "PET" if torch.equal(hot, second) else "none" if not hot.any() else "wrong"
        for hot, second in zip(batch["uptake"], batch["second"], strict=True)
    ]
    assert set(kinds) == {"PET", "none"}, "a PET comes last by its name"


def test_patches_larger_than_a_slice_are_black_around_it(studies: list[Study]) -> None:
    config = FusionConfig(patch=(128, 128))
    batch = FusionTask(network(), studies, config=config).batch(0, 4, 0)
    assert batch["image"].shape == (4, 1, 128, 128)
    assert (batch["image"][:, 0, 0] == 0).all() and batch["image"][:, :, 40:80, 40:80].any()


def test_patches_too_small_for_the_losses(studies: list[Study]) -> None:
    with pytest.raises(ValueError, match="44 pixels are the least"):
        FusionTask(network(), studies, config=FusionConfig(patch=(96, 32)))


def test_watched_slices_lie_evenly(studies: list[Study]) -> None:
    pairs = some_pairs(studies[0], Windows())
    assert len(pairs) == 3 * WATCHED and pairs[0][0].shape == (40, 36)
    expected = Windows().of_image(studies[0]["CT"], "CT").grey(studies[0]["CT"])
    for (one, _), k in zip(pairs, (1, 3, 5, 7), strict=False):
        np.testing.assert_array_equal(one, expected[..., k])


def test_validation_counts_the_figures_that_are_ahead(studies: list[Study]) -> None:
    task = FusionTask(network(), studies, studies[:1], CONFIG)
    with torch.inference_mode():
        plain, told = (task.validate({"generator": network(spread)}) for spread in (0.0, 0.3))
    assert plain["ahead"] == 0, "the brighter of both is not ahead of itself"
    assert told["ahead"] == sum(told[name] > 1e-4 for name in ("EN", "SD", "MI", "VIF", "Qabf", "SSIM"))


def test_training_lowers_the_loss(studies: list[Study]) -> None:
    def loss(net: torch.nn.Module) -> float:
        task = FusionTask(net, studies, config=CONFIG)
        with torch.no_grad():
            return float(sum(task._generator_losses(task.batch(1000, 8, 0)).values()))

    before = loss(network(0.3).train())
    config = FitConfig(15, 2, 3e-3, ema=0.8, precision="fp32", threads=1, device="cpu")
    averaged, _ = fit(FusionTask(network(0.3), studies, config=CONFIG), config)
    assert loss(averaged["generator"].train()) < before - 0.1


def test_each_discriminator_judges_its_own_source(studies: list[Study]) -> None:
    config = FusionConfig(patch=(48, 48), adversarial=0.1)
    task = FusionTask(network(0.3).train(), studies, config=config)
    assert [phase.networks for phase in task.phases()] == [DISCRIMINATORS, ("generator",)]
    batch = task.batch(0, 2, 0)
    assert set(task._discriminator_losses(batch)) == set(DISCRIMINATORS)
    task._discriminator_losses(batch)["second"].backward()
    grads = {name: any(p.grad is not None for p in task.networks[name].parameters()) for name in task.networks}
    assert grads == {"generator": False, "first": False, "second": True}
    told = task._generator_losses(batch)
    assert {"adversarial_first", "adversarial_second"} < set(told)
    assert not any(name.startswith("adversarial") for name in FusionTask(network(), studies)._generator_losses(batch))


def test_other_data_or_settings_are_another_run(studies: list[Study]) -> None:
    told = FusionTask(network(), studies).identity()
    assert told == FusionTask(network(), studies).identity()
    assert told != FusionTask(network(), studies[:1]).identity()
    assert told != FusionTask(network(), studies, config=CONFIG).identity()

"""Segmentation that also learns from images without labels."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.augment import Augmentation
from trainers.data.cases import Case, CasesError
from trainers.data.volumes import VolumeError
from trainers.fit import fit
from trainers.networks import build
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.segmentation.semi import SemiConfig, SemiSupervisedTask, load_unlabelled, self_training
from trainers.tasks.segmentation.task import SegmentationConfig

SMALL = SegmentationConfig((16, 16, 16), adversarial=0.01, augmentation=Augmentation(translate=1.0))


def make(spec: ModelSpec, cases: list[Case], steps: int = 10, **semi: float) -> SemiSupervisedTask:
    torch.manual_seed(0)
    unlabelled = [case.image for case in cases[2:]]
    return SemiSupervisedTask(spec, build(spec.network), cases[:2], unlabelled, steps, SMALL, SemiConfig(**semi))


def test_self_training_is_cross_entropy_where_the_discriminator_is_convinced() -> None:
    """Two classes with logits (0, 1) everywhere: cross-entropy with the own label is log(1 + e^-1)."""
    logits = torch.zeros(1, 2, 4, 4, 4)
    logits[:, 1] = 1
    scores = torch.full((1, 1, 4, 4, 4), -1.0)
    assert float(self_training(logits, scores)) == 0
    scores[..., :2] = 1
    assert float(self_training(logits, scores)) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


def test_self_training_teaches_only_where_it_trusts() -> None:
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = torch.full((1, 1, 4, 4, 4), -1.0)
    scores[..., :2] = 1
    self_training(logits, scores).backward()
    assert logits.grad is not None
    assert logits.grad[..., 3].abs().max() == 0
    assert logits.grad[..., 0].abs().min() > 0


def test_images_without_labels_count_after_the_start(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    task = make(tiny_spec, ball_cases, start=0.5)
    early, late = (task._generator_losses(task.batch(step, 2, 0)) for step in (4, 5))
    assert "fooled" not in early
    assert {"fooled", "self_training"} <= set(late)


def test_images_without_labels_change_what_is_learned(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    ends = []
    for weight in (0.0, 1.0):
        task = make(tiny_spec, ball_cases, steps=3, start=0.0, self_training=weight, adversarial=weight)
        networks, _ = fit(task, FitConfig(3, 2, precision="fp32", ema=0.5))
        ends.append(torch.cat([p.detach().flatten() for p in networks["generator"].parameters()]))
    assert torch.isfinite(ends[1]).all()
    assert (ends[0] - ends[1]).abs().max() > 1e-6


def test_batches_depend_on_the_step_alone(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    task = make(tiny_spec, ball_cases)
    first, again, other = (task.batch(step, 2, 0)["unlabelled"] for step in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (2, 1, 16, 16, 16)


def test_another_set_of_images_is_another_run(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    task = make(tiny_spec, ball_cases)
    assert task.identity() != make(tiny_spec, ball_cases[:-1]).identity()
    assert task.identity() == make(tiny_spec, ball_cases).identity()


def test_an_unlabelled_crop_is_normalised(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    sample = load_unlabelled(ball_cases[0].image, tiny_spec)
    assert sample.image.mean() == pytest.approx(0, abs=1e-5)
    assert sample.image.std() == pytest.approx(1, abs=1e-4)
    assert not np.any(sample.label)


def test_what_is_missing_is_told(tiny_spec: ModelSpec, ball_cases: list[Case], tmp_path: Path) -> None:
    network, image = build(tiny_spec.network), ball_cases[0].image
    with pytest.raises(CasesError, match="adversarial weight above 0"):
        SemiSupervisedTask(tiny_spec, network, ball_cases, [image], 5, replace(SMALL, adversarial=0.0))
    with pytest.raises(CasesError, match="images without labels"):
        SemiSupervisedTask(tiny_spec, network, ball_cases, [], 5, SMALL)
    with pytest.raises(VolumeError, match="no file"):
        SemiSupervisedTask(tiny_spec, network, ball_cases, [tmp_path / "gone.nii.gz"], 5, SMALL)

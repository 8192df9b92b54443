"""Learning to be corrected, on hard images, and with studies without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trainers.augment import Augmentation
from trainers.data.cases import Case
from trainers.data.volumes import Volume, write_volume
from trainers.fit import fit
from trainers.networks import build
from trainers.networks.judge import MaskJudge
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.segmentation import SegmentationConfig, SegmentationTask, Segmenter
from trainers.tasks.segmentation.adapting import AdaptingTask, UnlabelledConfig
from trainers.tasks.segmentation.clicking import measure_clicks
from trainers.tasks.segmentation.correcting import CorrectingConfig, CorrectingTask, mean_of, with_more_inputs
from trainers.tasks.segmentation.hard import WAYS, harden
from trainers.tasks.segmentation.interaction import click_report
from trainers.tasks.segmentation.samples import Sample
from trainers.tasks.segmentation.task import class_weights

SMALL = SegmentationConfig((16, 16, 16), augmentation=Augmentation(distortion=0.0, intensity=0.0))
FIT = FitConfig(steps=60, learning_rate=1e-2, ema=0.9, precision="fp32", device="cpu")


@pytest.fixture
def spec(tiny_spec: ModelSpec) -> ModelSpec:
    return replace(tiny_spec, clicks=2.0, network={**tiny_spec.network, "in_channels": 4})


def test_more_inputs_change_nothing_until_they_are_used(tiny_spec: ModelSpec, spec: ModelSpec) -> None:
    torch.manual_seed(0)
    narrow = build(tiny_spec.network).eval()
    wide = with_more_inputs(narrow, build(spec.network)).eval()
    image, marks = torch.randn(1, 1, 16, 16, 16), torch.rand(1, 3, 16, 16, 16)
    assert torch.allclose(wide(torch.cat([image, 0 * marks], 1)), narrow(image), atol=1e-5)
    assert not torch.allclose(wide(torch.cat([image, marks], 1)), narrow(image), atol=1e-2)
    with pytest.raises(ValueError, match="more than their input"):
        with_more_inputs(narrow, build({**spec.network, "channels": [4, 8, 16, 16], "strides": [2, 2, 2]}))


def test_the_mean_of_two_networks_lies_between_them(spec: ModelSpec) -> None:
    one, other = build(spec.network), build(spec.network)
    before = [p.clone() for p in one.parameters()]
    mean_of(one, other, 0.25)
    for mixed, old, theirs in zip(one.parameters(), before, other.parameters(), strict=True):
        torch.testing.assert_close(mixed, 0.75 * old + 0.25 * theirs)


def test_it_learns_to_follow_clicks(spec: ModelSpec, ball_cases: list[Case]) -> None:
    """On images where there is nothing to see, the clicks alone tell where the ball is."""
    torch.manual_seed(0)
    correcting = CorrectingConfig(alone=0.0, most=3, hard=1.0, scribbles=0.3)
    task = CorrectingTask(spec, build(spec.network), ball_cases[:4], config=SMALL, correcting=correcting)
    networks, _ = fit(task, replace(FIT, steps=160))
    segmenter = Segmenter.from_network(spec, networks["generator"])
    for case in ball_cases[4:]:
        write_volume(case.image, Volume(np.random.default_rng(0).normal(size=(16, 16, 16)), np.eye(4)))
    report = click_report(segmenter, ball_cases[4:], 3)
    assert report["poor_cases"] == 2
    assert len(report["dice"]) == 4
    assert report["poor"][3] > report["poor"][0] + 0.15
    assert {"id", "dice", "seconds"} == set(report["per_case"][0])


def test_a_curve_ends_when_nothing_is_wrong(spec: ModelSpec, ball_cases: list[Case]) -> None:
    curve = measure_clicks(Segmenter.from_network(spec, build(spec.network)), ball_cases[0], 2)
    assert 1 <= len(curve.dice) == len(curve.seconds) <= 3
    assert curve.clicks_to(2.0) is None
    assert curve.clicks_to(0.0) == 0


def test_corrections_depend_on_the_seed_alone(spec: ModelSpec, ball_cases: list[Case]) -> None:
    torch.manual_seed(0)
    task = CorrectingTask(spec, build(spec.network), ball_cases[:2], config=SMALL)
    batch, losses = task.batch(3, 2, 0), []
    for _ in range(2):
        torch.manual_seed(7)
        losses.append(float(task.phases()[0].losses(batch)["dice_ce"]))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_spoils_more_at_more_strength(way) -> None:
    image = torch.randn(1, 1, 20, 24, 20).cumsum(2)
    far = []
    for strength in (0.05, 1.0):
        torch.manual_seed(1)
        out = way(image.clone(), strength)
        assert out.shape == image.shape and torch.isfinite(out).all()
        far.append(1 - float(torch.corrcoef(torch.stack([out.ravel(), image.ravel()]))[0, 1]))
    assert far[1] > far[0]


def test_hard_images_are_normalised_and_keep_their_outside() -> None:
    images = torch.randn(3, 1, 16, 16, 16)
    images[..., :4] = 0
    torch.manual_seed(0)
    out = harden(images, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(out[0], images[0])
    assert not out[..., :4].any()
    for hard in out[1:]:
        inside = hard[..., 4:]
        assert abs(float(inside.mean())) < 1e-4 and abs(float(inside.std()) - 1) < 1e-3
    flat = torch.ones(1, 1, 8, 8, 8)
    assert torch.equal(harden(flat, torch.tensor([0.3])).isfinite(), torch.ones_like(flat).bool())


# Learning from the rest


def test_studies_without_labels_have_their_turn(spec: ModelSpec, ball_cases: list[Case]) -> None:
    torch.manual_seed(0)
    learning = UnlabelledConfig(every=2, sure=0.0)
    rest = [case.image for case in ball_cases[2:]]
    task = AdaptingTask(
        spec, build(spec.network), ball_cases[:2], unlabelled=rest, critic=MaskJudge(3), config=SMALL, learning=learning
    )
    assert [phase.name for phase in task.phases()] == ["unlabelled", "generator"]
    assert ["unlabelled" in task.batch(step, 2, 0) for step in range(4)] == [False, True, False, True]
    losses = task.phases()[0].losses(task.batch(1, 2, 0))
    assert set(losses) == {"consistency", "realism"}
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in task._critic.parameters())  # type: ignore[union-attr]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in task.networks["generator"].parameters())


def test_without_them_it_is_as_before(spec: ModelSpec, ball_cases: list[Case]) -> None:
    task = AdaptingTask(spec, build(spec.network), ball_cases[:2], config=SMALL)
    assert [phase.name for phase in task.phases()] == ["generator"]
    assert set(task.batch(3, 1, 0)) == {"image", "label"}


def test_rare_labels_count_more_within_limits() -> None:
    label = np.zeros((10, 10, 10), np.uint8)
    label[0, 0, :1], label[1:3] = 2, 1
    weights = class_weights([Sample(label.astype(np.float32), label)], 3, 0.5)
    assert weights[0] == 1.0 and weights[1:].mean() == pytest.approx(1.0)
    assert weights[2] == pytest.approx(10 * float(weights[1]))  # by the limit; its share alone would give 14


# Early stopping


def test_a_run_ends_when_it_gets_no_better_and_keeps_the_best(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    class Told(SegmentationTask):
        """Says of itself what it is told to say."""

        figures = iter([0.5, 0.7, 0.6, 0.7, 0.1, 0.9])
        best: dict[str, torch.Tensor]

        def validate(self, networks):
            value = next(self.figures)
            if value == 0.7 and not hasattr(self, "best"):
                self.best = {k: v.clone() for k, v in networks["generator"].state_dict().items()}
            return {"dice_mean": value}

    torch.manual_seed(0)
    task = Told(tiny_spec, build(tiny_spec.network), ball_cases[:2], ball_cases[2:3], config=SMALL)
    networks, history = fit(task, replace(FIT, steps=12, validate_every=2, patience=3))
    assert [value["dice_mean"] for _, value in history.metrics] == [0.5, 0.7, 0.6, 0.7, 0.1]
    assert all(torch.equal(v, task.best[k]) for k, v in networks["generator"].state_dict().items())

"""Training a segmentation model: what it learns from, what it writes, alone and with several processes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainers.conftest import ball
from tests.trainers.test_fit import run_twice
from trainers.augment import Augmentation, segmentation_augmentation
from trainers.card import write_card
from trainers.data.cases import Case, CasesError
from trainers.data.volumes import Volume, write_volume
from trainers.fit import CHECKPOINT_FILE, CheckpointMismatch
from trainers.losses.adversarial import hinge_discriminator, hinge_generator
from trainers.monitor import Cancelled, Monitor
from trainers.networks import build
from trainers.recipes import Recipe
from trainers.spec import CARD_FILE, SPEC_FILE, WEIGHTS_FILE, ModelSpec
from trainers.task import FitConfig
from trainers.tasks.segmentation import FinetuneConfig, Report, SegmentationConfig, SegmentationTask, finetune
from trainers.tasks.segmentation import train as training

FIT = FitConfig(steps=20, learning_rate=5e-3, ema=0.8, precision="fp32", device="cpu", validate_every=10)
SMALL = SegmentationConfig((16, 16, 16), augmentation=Augmentation(distortion=0.0, intensity=0.0))


@pytest.fixture
def recipe(tiny_spec: ModelSpec) -> Recipe:
    spec = replace(tiny_spec, training={}, limits="Only balls.")
    return Recipe(spec, SMALL, FIT, validation=1, test=2)


class StopAt(Monitor):
    """Cancels after a step, and keeps what it heard."""

    def __init__(self, step: int = -1) -> None:
        self.step = step
        self.heard: list[dict[str, Any]] = []

    def report(self, **state: Any) -> None:
        self.heard.append(state)

    def check(self) -> None:
        if self.heard and self.heard[-1].get("step") == self.step:
            raise Cancelled


# Losses


def test_the_hinge_loss_on_numbers() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0, -1.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2 + 0) / 4)
    assert hinge_generator(None, fake).item() == pytest.approx(3 / 4)


class Opinion(nn.Module):
    """A discriminator that tells truth from softmax by its certainty; `sign` -1 takes one for the other."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, seen: torch.Tensor) -> list[torch.Tensor]:
        certain = seen[:, 1:].amax(1).mean()
        return [self.sign * 100 * (certain - 0.99).reshape(1)]


@pytest.fixture
def adversaries(tiny_spec: ModelSpec, ball_cases: list[Case]) -> SegmentationTask:
    config = replace(SMALL, adversarial=0.1)
    return SegmentationTask(tiny_spec, build(tiny_spec.network), ball_cases, config=config)


def test_the_discriminator_gains_by_telling_truth_from_made(adversaries: SegmentationTask) -> None:
    batch, discriminator = adversaries.batch(0, 2, 0), adversaries.phases()[0]
    cost = {}
    for sign in (1.0, -1.0):
        adversaries.networks["discriminator"] = Opinion(sign)
        cost[sign] = sum(v.item() for v in discriminator.losses(batch).values())
    assert cost[1.0] == pytest.approx(0, abs=1e-5) and cost[-1.0] > 2


def test_the_generator_gains_by_fooling_the_discriminator(adversaries: SegmentationTask) -> None:
    """Its term falls when its result is judged higher, and a step along its gradient raises the judgement."""
    batch, generator = adversaries.batch(0, 2, 0), adversaries.phases()[1]
    adversaries.networks["discriminator"] = Opinion(1.0)
    term = generator.losses(batch)["adversarial"]

    def judged() -> float:
        with torch.no_grad():
            made = torch.softmax(adversaries.networks["generator"](batch["image"]), 1)
            return adversaries.networks["discriminator"](torch.cat([batch["image"], made], 1))[-1].item()

    before = judged()
    assert term.item() == pytest.approx(-0.1 * before, rel=1e-3)
    term.backward()
    with torch.no_grad():
        for parameter in adversaries.networks["generator"].parameters():
            if parameter.grad is not None:
                parameter -= 1e-2 * parameter.grad
    assert judged() > before


# Batches


def test_every_process_and_step_has_its_own_batch(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    task = SegmentationTask(tiny_spec, build(tiny_spec.network), ball_cases, config=SMALL)
    first = task.batch(3, 2, 0)["image"]
    assert torch.equal(first, task.batch(3, 2, 0)["image"])
    assert not torch.equal(first, task.batch(3, 2, 1)["image"])
    assert not torch.equal(first, task.batch(4, 2, 0)["image"])


@pytest.mark.parametrize(("share", "expected"), [(0.0, {"new"}), (0.5, {"new", "old"}), (1.0, {"old"})])
def test_the_replay_share_of_a_batch_is_of_old_cases(
    tiny_spec: ModelSpec, tmp_path: Path, share: float, expected: set[str]
) -> None:
    """New cases have small balls, old ones large balls."""
    cases = {}
    for name, radius in (("new", 3.0), ("old", 6.0)):
        image, label = ball((16, 16, 16), (8.0, 8.0, 8.0), radius)
        paths = [tmp_path / part / f"{name}.nii.gz" for part in ("images", "labels")]
        for path, array in zip(paths, (image, label), strict=True):
            write_volume(path, Volume(array, np.eye(4)))
        cases[name] = [Case(name, *paths)]
    config = replace(SMALL, replay=share)
    task = SegmentationTask(tiny_spec, build(tiny_spec.network), cases["new"], replay=cases["old"], config=config)
    sizes = (task.batch(0, 12, 0)["label"] > 0).sum(dim=(1, 2, 3, 4))
    assert {"old" if size > 350 else "new" for size in sizes} == expected


GEOMETRY: dict[str, dict[str, float]] = {
    "flip": {"flip_left_right": 1.0},
    "distortion": {"distortion": 1.0},
    "rotation": {"rotate": 0.5},
    "size": {"scale": 0.3},
    "shift": {"translate": 4.0},
}


@pytest.mark.parametrize("change", GEOMETRY)
def test_image_and_label_move_together(change: str) -> None:
    """The label is where the image is bright, before any change of geometry and after it."""
    still = Augmentation(rotate=0, scale=0, translate=0, flip_left_right=0, distortion=0, intensity=0)
    image = np.zeros((1, 32, 32, 32), np.float32)
    image[:, 4:12, 8:22, 6:26] = 1
    augment = segmentation_augmentation((32, 32, 32), replace(still, **GEOMETRY[change]))
    augment.set_random_state(seed=1)
    moved = False
    for _ in range(4):
        changed = augment({"image": image.copy(), "label": image.copy()})
        bright, label = np.asarray(changed["image"]) > 0.5, np.asarray(changed["label"]) > 0
        assert 2 * (bright & label).sum() / (bright.sum() + label.sum()) > 0.93
        moved |= (label != (image > 0)).sum() > 100
    assert moved


# A whole run


def test_a_run_of_other_settings_is_not_gone_on_with(recipe: Recipe, ball_cases: list[Case], tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    with pytest.raises(Cancelled):
        training.train(recipe, data, out, monitor=StopAt(5))
    others: dict[str, Callable[[], Any]] = {
        "network": lambda: training.train(
            replace(recipe, spec=recipe.spec.replace(network={**recipe.spec.network, "channels": [2, 4, 8]})), data, out
        ),
        "seed": lambda: training.train(replace(recipe, config=replace(SMALL, seed=1)), data, out),
        "fewer cases": lambda: training.train(recipe, data, out, train_cases=2),
        "more steps": lambda: training.train(replace(recipe, fit=replace(FIT, steps=30)), data, out),
    }
    for name, other in others.items():
        with pytest.raises(CheckpointMismatch, match="other settings"):
            other()
        assert not (out / SPEC_FILE).exists(), name
    report = training.train(recipe, data, out)
    assert report is not None and len(report.per_case) == 2


def test_a_finished_run_leaves_a_model_and_no_checkpoint(
    recipe: Recipe, ball_cases: list[Case], tmp_path: Path
) -> None:
    training.train(recipe, tmp_path / "data", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {WEIGHTS_FILE, SPEC_FILE, CARD_FILE}
    assert not (tmp_path / "out" / CHECKPOINT_FILE).exists()


def test_a_label_that_was_never_found_does_not_lose_the_model(
    recipe: Recipe, ball_cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a label has no distance at all; the other figures are kept."""
    cases = [{"id": "p", "dice": {"low": 0.5, "high": 0.0}, "hd95_mm": {"low": 2.0, "high": math.inf}, "seconds": 1.0}]
    monkeypatch.setattr(training, "evaluate", lambda *a: Report(cases))
    training.train(recipe, tmp_path / "data", tmp_path / "out")
    metrics = ModelSpec.load(tmp_path / "out").metrics
    assert metrics["hd95_mm_low"]["value"] == 2.0 and metrics["dice_high"]["value"] == 0.0
    assert "hd95_mm_high" not in metrics


def test_too_few_patients_are_counted(recipe: Recipe, ball_cases: list[Case], tmp_path: Path) -> None:
    with pytest.raises(CasesError, match=r"at least 9 patients: 7 test \+ 1 validation \+ 1 to learn from.*are 6"):
        training.train(replace(recipe, test=7), tmp_path / "data", tmp_path / "out")


def test_of_two_processes_one_measures_and_writes(ball_cases: list[Case], tmp_path: Path) -> None:
    """The command line under torchrun: one table, one model, one record of it."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os\n"
        "from dataclasses import replace\n"
        "from tests.trainers import conftest\n"
        "from tests.trainers.test_training import FIT, SMALL\n"
        "from trainers import files\n"
        "from trainers.__main__ import app\n"
        "from trainers.recipes import RECIPES, Recipe\n"
        "spec = replace(conftest.tiny_spec.__wrapped__(), training={})\n"
        "RECIPES['ball'] = Recipe(spec, SMALL, FIT, validation=1, test=2)\n"
        "replaced = files.Path.replace\n"
        "def noted(path, target):\n"
        "    with open('written', 'a') as stream:\n"
        "        stream.write(f\"{os.environ['RANK']} {target.name}\\n\")\n"
        "    return replaced(path, target)\n"
        "files.Path.replace = noted\n"
        "app(['train', 'segmentation', '--model', 'ball', '--data', 'data', '--out', 'model'])\n"
    )
    done = run_twice(tmp_path, str(script))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("on 2 cases") == 1
    assert done.stderr.count("step 20/20") == 1
    written = (tmp_path / "written").read_text(encoding="utf-8").split("\n")[:-1]
    assert {line.split()[0] for line in written} == {"0"}
    assert {line.split()[1] for line in written} == {CHECKPOINT_FILE, WEIGHTS_FILE, SPEC_FILE, CARD_FILE}
    assert (tmp_path / "model" / CARD_FILE).is_file()


# Cards and fine-tuning


def test_a_fine_tuned_model_does_not_claim_its_parents_figures(
    untrained: Path, ball_cases: list[Case], tmp_path: Path
) -> None:
    figures = {"dice_mean": {"value": 0.98765, "higher_is_better": True}}
    ModelSpec.load(untrained).replace(metrics=figures, limits="Only balls.").save(untrained)
    finetune(untrained, tmp_path / "new", ball_cases[:2], config=FinetuneConfig(epochs=1, least_steps=1, device="cpu"))
    spec, card = ModelSpec.load(tmp_path / "new"), (tmp_path / "new" / CARD_FILE).read_text(encoding="utf-8")
    assert spec.metrics == {} and spec.limits == "Only balls."
    assert "0.98765" not in card and "Only balls." in card and "Not measured." in card
    assert "- from: v0001" in card and "- learning rate: 0.0001" in card


def test_the_rate_of_fine_tuning_is_the_measured_one() -> None:
    assert FinetuneConfig().learning_rate == 1e-4


def test_each_epoch_has_its_own_mean_loss(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    """With one step an epoch the mean is that of the one step."""
    told, kept = StopAt(), {}
    for steps in (1, 2):
        told = StopAt()
        config = FinetuneConfig(epochs=4 // steps, least_steps=steps, learning_rate=1e-30, anchor=0, device="cpu")
        finetune(untrained, tmp_path / str(steps), ball_cases[:2], config=config, monitor=told)
        kept[steps] = [state["loss"] for state in told.heard if "loss" in state]
    single = kept[1]
    means = [single[0], (single[0] + single[1]) / 2, single[2], (single[2] + single[3]) / 2]
    assert len(set(single)) == 4
    assert kept[2] == pytest.approx(means, rel=1e-5)


def test_a_card_reads_as_text(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    record = {
        "cases": 160, "split": {"test": ["p1", "p2"], "validation": ["p3"]},
        "validation_dice_by_step": [[1000, 0.84], [2000, 0.87]],
        "task": {"patch": [40, 56, 40], "augmentation": {"flip_left_right": 0.5, "scale": 0.15}},
    }  # fmt: skip
    write_card(tiny_spec.replace(training=record), tmp_path)
    card = (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    assert "- split: 2 for test, 1 for validation (ids in spec.json)" in card and "p1" not in card
    assert "- validation dice by step: 1000: 0.84, 2000: 0.87" in card
    assert "- task: patch 40 x 56 x 40, augmentation (flip left right 0.5, scale 0.15)" in card
    assert not set("{}[]'") & set(card)


def test_a_record_holds_the_ids_of_the_split(recipe: Recipe, ball_cases: list[Case], tmp_path: Path) -> None:
    training.train(recipe, tmp_path / "data", tmp_path / "out")
    split = json.loads((tmp_path / "out" / SPEC_FILE).read_text(encoding="utf-8"))["training"]["split"]
    assert len(split["test"]) == 2 and len(split["validation"]) == 1

"""A model that can be corrected and judges itself, trained as the command line does: all four stages, on balls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainers.augment import Augmentation
from trainers.data.cases import Case
from trainers.data.volumes import read_volume
from trainers.recipes import Recipe
from trainers.spec import CARD_FILE, WEIGHTS_FILE, ModelSpec, part_file
from trainers.task import FitConfig
from trainers.tasks.segmentation import SegmentationConfig, Segmenter
from trainers.tasks.segmentation import interactive as module
from trainers.tasks.segmentation import train as training
from trainers.tasks.segmentation.clicks import Click
from trainers.tasks.segmentation.correcting import CorrectingConfig
from trainers.tasks.segmentation.interactive import Interactive
from trainers.tasks.segmentation.judging import JudgingConfig
from trainers.tasks.segmentation.quality import DICE, ONE_VIEW, PART

CONFIG = SegmentationConfig((16, 16, 16), augmentation=Augmentation(distortion=0.0, intensity=0.0))
FIT = FitConfig(steps=25, learning_rate=1e-2, ema=0.8, precision="fp32", device="cpu")
HOW = Interactive(
    correcting_fit=replace(FIT, steps=4), second_fit=replace(FIT, steps=4), judging_fit=replace(FIT, steps=4),
    judge={"name": "MaskJudge", "classes": 3, "channels": [4, 8]}, patch=(16, 16, 16),
    correcting=CorrectingConfig(watched=(1, 1)), judging=JudgingConfig(seen=6, strengths=(0.0,) * 6),
)  # fmt: skip


@pytest.fixture
def recipe(tiny_spec: ModelSpec) -> Recipe:
    spec = replace(tiny_spec, training={}, clicks=2.0, network={**tiny_spec.network, "in_channels": 4})
    return Recipe(spec, CONFIG, FIT, validation=2, test=1, interactive=HOW)


def test_all_stages_make_a_model_and_none_is_done_twice(
    recipe: Recipe, ball_cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    report = training.train(recipe, tmp_path / "data", out)
    assert report is not None and len(report.per_case) == 1
    spec = ModelSpec.load(out)
    assert spec.clicks == 2.0 and set(spec.parts) == {PART} and set(spec.calibration) == {DICE, ONE_VIEW}
    assert set(spec.training["minutes"]) == {"automatic", "corrections", "second", PART}
    assert len(spec.training["split"]["validation"]) == 2
    assert "correcting" in (out / CARD_FILE).read_text(encoding="utf-8")
    image = read_volume(ball_cases[0].image)
    found = Segmenter(out)(image, clicks=[Click(7, ((1.0, 2.0, 3.0),))])
    assert found.label.array[1, 2, 3] == 7 and found.quality is not None
    weights = (out / WEIGHTS_FILE).read_bytes()
    monkeypatch.setattr(module.JudgingTask, "_make", lambda *_, **__: pytest.fail("label maps are made for nothing"))
    training.train(recipe, tmp_path / "data", out)
    assert (out / WEIGHTS_FILE).read_bytes() == weights


def test_the_second_stage_learns_from_half_of_the_patients() -> None:
    cases = [Case(f"p{n}_{side}", Path(), Path(), f"p{n}") for n in range(5) for side in "LR"]
    half = module._half(cases)
    assert {case.patient for case in half} == {"p0", "p2", "p4"} and len(half) == 6
    alone = [Case(f"p{n}", Path(), Path()) for n in range(5)]
    assert module._half(alone) == alone[::2]


def test_a_model_that_finds_too_little_is_not_calibrated_but_made(
    recipe: Recipe, ball_cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(HOW, judging=replace(HOW.judging, strengths=(0.0,)))
    training.train(replace(recipe, interactive=few), tmp_path / "data", tmp_path / "out")
    assert ModelSpec.load(tmp_path / "out").calibration == {}
    assert part_file(tmp_path / "out", PART).is_file()
    found = Segmenter(tmp_path / "out")(read_volume(ball_cases[0].image))
    assert found.quality is None and np.isfinite(found.uncertainty.array).all()

"""How good a segmentation probably is: the discriminator, its training, its calibration, and what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from trainers.__main__ import app
from trainers.augment import Augmentation
from trainers.data.cases import Case
from trainers.data.volumes import Volume
from trainers.fit import fit
from trainers.networks import build
from trainers.networks.judge import MaskJudge
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable, ModelSpec, part_file, save_weights
from trainers.task import FitConfig
from trainers.tasks.segmentation import SegmentationConfig, Segmenter, interaction
from trainers.tasks.segmentation.clicking import Curve
from trainers.tasks.segmentation.clicks import Click
from trainers.tasks.segmentation.interaction import quality_report
from trainers.tasks.segmentation.judging import JudgingConfig, JudgingTask, dice_of, observe, spoiled
from trainers.tasks.segmentation.quality import DICE, ONE_VIEW, PART, Calibration, Judge, Signs
from trainers.tasks.segmentation.samples import load_case
from trainers.tasks.segmentation.search import Find

SMALL = SegmentationConfig((16, 16, 16), augmentation=Augmentation(distortion=0.0, intensity=0.0))
JUDGE = {"name": "MaskJudge", "classes": 3, "channels": [8, 16]}


def signs(guess: float, realism: float = 0.0, entropy: float = 0.2) -> Signs:
    return Signs(guess, realism, entropy, {}, [])


def test_dice_by_label_and_none_for_a_label_in_neither() -> None:
    found = torch.tensor([0, 1, 1, 0, 2]).reshape(1, 5, 1, 1)
    truth = torch.tensor([0, 1, 0, 0, 0]).reshape(1, 5, 1, 1)
    scores = dice_of(found, truth, 4)
    assert scores[0, :2].tolist() == pytest.approx([2 / 3, 0.0])
    assert torch.isnan(scores[0, 2])


def test_a_judge_takes_any_size_and_an_empty_mask() -> None:
    judge = MaskJudge(3, (8, 16))
    for size in ((16, 16, 16), (21, 30, 17)):
        maps = torch.zeros(2, 3, *size)
        maps[:, 0] = 1
        patches, logits = judge(torch.randn(2, 1, *size), maps)
        assert patches.shape[:2] == (2, 1) and logits.shape == (2, 2)
        assert torch.isfinite(patches).all() and torch.isfinite(logits).all()


def test_it_learns_to_tell_good_label_maps_from_poor_ones(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    """One of the networks under judgement has the right answer painted into its image, the other guesses."""

    class Knows(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inside = (x > 1.5).float()
            upper = torch.arange(16).reshape(1, 1, 1, 1, 16) > 7
            return 8 * torch.cat([1 - inside, inside * ~upper, inside * upper], 1)

    class Guesses(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 8 * torch.rand(len(x), 3, *x.shape[2:])

    torch.manual_seed(0)
    spec = replace(tiny_spec, parts={PART: JUDGE})
    judging = JudgingConfig(hard=0.0, seen=40)
    task = JudgingTask(spec, build(JUDGE), [Knows(), Guesses()], ball_cases[:4], ball_cases[4:], SMALL, judging)
    before = task.validate({PART: task.networks[PART]})["dice_error"]
    config = FitConfig(steps=60, batch_size=4, learning_rate=3e-3, ema=0.8, precision="fp32", device="cpu")
    networks, _ = fit(task, config)
    after = task.validate(networks)["dice_error"]
    assert after < 0.5 * before


def test_a_judge_of_other_networks_is_another_stage(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    spec, told = replace(tiny_spec, parts={PART: JUDGE}), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        task = JudgingTask(spec, build(JUDGE), [build(tiny_spec.network)], ball_cases[:2], config=SMALL)
        told.append(task.identity()["judged"])
    assert told[0] == told[1] != told[2]


def test_a_calibration_finds_the_line_and_its_spread() -> None:
    random = np.random.default_rng(0)
    guesses = random.uniform(0.2, 1.0, 200)
    dice = (0.1 + 0.8 * guesses + random.normal(0, 0.03, 200)).clip(0, 1)
    patients = [str(number // 4) for number in range(200)]
    calibration = Calibration.fit([signs(g, random.normal()) for g in guesses], list(dice), patients)
    quality = calibration(signs(0.5))
    assert quality.expected_dice == pytest.approx(0.5, abs=0.02)
    assert quality.high - quality.low == pytest.approx(2 * 1.28 * 0.03, rel=0.35)
    again = Calibration(**calibration.as_dict())  # type: ignore[arg-type]
    assert again(signs(0.5)).as_dict() == quality.as_dict()
    for labels, patients in ((9, ["a"] * 4 + ["b"] * 5), (12, ["a"] * 12)):
        with pytest.raises(ValueError, match="10 of two patients are the least"):
            Calibration.fit([signs(0.1)] * labels, [0.1] * labels, patients)


def test_a_patient_is_missed_by_what_the_others_tell() -> None:
    dice = [0.8] * 8 + [0.5] * 4
    calibration = Calibration.fit([signs(0.5)] * 12, dice, ["a"] * 8 + ["b"] * 4)
    assert sorted(calibration.missed) == pytest.approx([-0.3] * 4 + [0.3] * 8, abs=1e-3)
    quality = calibration(signs(0.5))
    assert quality.expected_dice == pytest.approx(0.7, abs=1e-3)
    assert (quality.low, quality.high) == pytest.approx((0.4, 1.0), abs=2e-3)


def test_the_interval_holds_new_patients_whose_labels_err_alike() -> None:
    random, held = np.random.default_rng(0), []
    for _ in range(40):
        errors = np.repeat(random.normal(0, 0.05, 10), 7) + random.normal(0, 0.01, 70)
        guesses = random.uniform(0.4, 0.8, 70)
        patients = [str(number // 7) for number in range(70)]
        calibration = Calibration.fit([signs(g) for g in guesses], list(guesses + errors), patients)
        for guess in random.uniform(0.4, 0.8, 20):
            quality = calibration(signs(guess))
            held.append(quality.low <= guess + random.normal(0, 0.05) <= quality.high)
    assert 0.74 < np.mean(held) < 0.9


@pytest.mark.parametrize(
    ("expected", "low", "light"),
    [(0.9, 0.8, "green"), (0.9, 0.6, "amber"), (0.78, 0.76, "amber"), (0.7, 0.69, "red")],
)
def test_the_light(expected: float, low: float, light: str) -> None:
    calibration = Calibration([0.0, 0.0, 0.0, expected], [expected] * 10, [low - expected] * 10)
    told = calibration(signs(0.0)).as_dict()
    assert told["light"] == light
    assert told["text"].endswith(".")


def model(tiny_spec: ModelSpec, folder: Path, calibrated: bool) -> Path:
    torch.manual_seed(0)
    known = {"dice": Calibration([1.0, 0.0, 0.0, 0.0], [0.5] * 10, [0.0] * 10).as_dict()} if calibrated else {}
    spec = replace(tiny_spec, parts={PART: JUDGE}, calibration=known)
    folder.mkdir()
    save_weights(build(spec.network), folder / WEIGHTS_FILE)
    save_weights(build(JUDGE), part_file(folder, PART))
    spec.save(folder)
    return folder


@pytest.mark.parametrize(("expected", "warned"), [(0.95, False), (0.6, True)])
def test_who_is_told_that_it_is_good_is_not_warned(
    expected: float, warned: bool, tiny_spec: ModelSpec, ball_cases: list[Case], tmp_path: Path
) -> None:
    known = {"dice": Calibration([0.0, 0.0, 0.0, expected], [expected] * 10, [0.0] * 10).as_dict()}
    folder = model(tiny_spec, tmp_path / "m", calibrated=True)
    ModelSpec.load(folder).replace(calibration=known).save(folder)
    image, _ = load_case(ball_cases[0], tiny_spec)
    found = Segmenter(folder)(image, test_time_augmentation=False)
    assert any("hesitates" in text for text in found.warnings) == warned


def test_a_segmentation_carries_its_quality(tiny_spec: ModelSpec, ball_cases: list[Case], tmp_path: Path) -> None:
    segmenter = Segmenter(model(tiny_spec, tmp_path / "m", calibrated=True))
    image, _ = load_case(ball_cases[0], tiny_spec)
    found = segmenter(image, test_time_augmentation=False)
    assert found.quality is not None
    assert 0 <= found.quality.low <= found.quality.expected_dice <= found.quality.high <= 1
    assert len(found.quality.signs.features) == 16
    assert set(found.quality.signs.by_label) == {"low", "high"}
    uncalibrated = Segmenter(model(tiny_spec, tmp_path / "u", calibrated=False))
    assert uncalibrated(image).quality is None
    part_file(tmp_path / "u", PART).unlink()
    with pytest.raises(ModelNotAvailable):
        Segmenter(tmp_path / "u")


def test_where_nothing_was_found_nothing_is_said() -> None:
    empty = np.zeros((3, 16, 16, 16), np.float32)
    empty[0] = 1
    judge = Judge(MaskJudge(3, (8, 16)), ["low", "high"], {DICE: Calibration([1, 0, 0, 0], [0.5] * 10, [0.0] * 10)})
    from trainers.preprocess import Window

    assert judge([Find(Window((0, 0, 0), (16, 16, 16)), empty[0], empty)]) is None


def test_spoiled_copies_are_repeatable_and_seen(tiny_spec: ModelSpec, ball_cases: list[Case], tmp_path: Path) -> None:
    image, _ = load_case(ball_cases[0], tiny_spec)
    assert spoiled(image, 0.0, 1) is image
    assert np.array_equal(spoiled(image, 0.6, 1).array, spoiled(image, 0.6, 1).array)
    assert not np.array_equal(spoiled(image, 0.6, 1).array, spoiled(image, 0.6, 2).array)
    segmenter = Segmenter(model(tiny_spec, tmp_path / "m", calibrated=False))
    report = quality_report(Segmenter(model(tiny_spec, tmp_path / "c", True)), ball_cases[:2], (0.0, 0.5), False)
    assert report["all"]["labels"] == 4 and report["untouched"]["labels"] == 2
    assert {row["strength"] for row in report["per_label"]} == {0.0, 0.5}
    seen, dice, patients = observe(segmenter, ball_cases[:2], (0.0, 0.5), average=False)
    assert len(seen) == len(dice) == 4 and patients == [case.id for case in ball_cases[:2] for _ in range(2)]
    assert all(0 <= value <= 1 for value in dice)


def test_images_without_any_label_say_nothing_of_the_agreement() -> None:
    rows = [{"dice": d, "expected_dice": e, "low": 0.0, "high": 1.0} for d, e in ((0.5, 0.6), (0.7, 0.7), (0.9, 0.8))]
    nothing = {"dice": float("nan"), "expected_dice": 0.8, "low": 0.7, "high": 0.9}
    assert interaction._agreement([*rows, nothing]) == interaction._agreement(rows)
    assert interaction._agreement(rows)["labels"] == 3 and interaction._agreement(rows)["within"] == 1
    curves = [Curve("a", [0.5, 0.7], []), Curve("b", [float("nan")], [])]
    assert interaction._mean_by_click(curves, 1) == [0.5, 0.7]


def test_the_quality_of_two_images_can_be_written(tiny_spec: ModelSpec, ball_cases: list[Case], tmp_path: Path) -> None:
    """Two are too few for a correlation, which is not a number then."""
    folder, report = model(tiny_spec, tmp_path / "m", calibrated=True), tmp_path / "r.json"
    for case in ball_cases[2:]:
        case.image.unlink()
        case.label.unlink()
    words = ["--model", str(folder), "--data", str(tmp_path / "data"), "--json", str(report), "--quality"]
    result = CliRunner().invoke(app, ["evaluate", "segmentation", *words])
    assert result.exit_code == 0, result.output
    assert json.loads(report.read_text())["quality"]["untouched"]["correlation"] is None


def correctable(spec: ModelSpec) -> ModelSpec:
    return replace(spec, clicks=2.0, network={**spec.network, "in_channels": 4})


def test_one_view_and_corrections_have_a_calibration_of_their_own(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    folder = model(correctable(tiny_spec), tmp_path / "m", True)
    spec = ModelSpec.load(folder)
    surer = Calibration([0.0, 0.0, 0.0, 0.25], [0.5] * 10, [0.0] * 10).as_dict()
    spec.replace(calibration={**spec.calibration, ONE_VIEW: surer}).save(folder)
    segmenter, image = Segmenter(folder), Volume(np.random.default_rng(0).normal(size=(16, 16, 16)), np.eye(4))
    click = [Click(min(spec.labels.values()), ((8.0, 8.0, 8.0),))]
    for found in (segmenter(image, clicks=click), segmenter(image, clicks=click, test_time_augmentation=False)):
        assert found.quality is not None and found.quality.expected_dice == 0.25
    averaged = segmenter(image)
    assert averaged.quality is None or averaged.quality.expected_dice != 0.25


def test_what_corrections_come_to_is_seen_too(tiny_spec: ModelSpec, ball_cases: list[Case], tmp_path: Path) -> None:
    folder = model(correctable(tiny_spec), tmp_path / "m", True)
    report = quality_report(Segmenter(folder), ball_cases[:2], (0.0, 0.5), False)
    assert report["corrected"]["labels"] == 12 and report["all"]["labels"] == 4
    _, dice, patients = observe(Segmenter(folder), ball_cases[:2], (0.0,), average=False, clicks=2)
    assert patients == [case.id for case in ball_cases[:2] for _ in range(3)]
    assert len(set(dice)) > 2

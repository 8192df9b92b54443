"""Segmentation of patients with several images: none is in two parts, and figures on known ones are told as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.trainers.test_command_line import recipe
from trainers.__main__ import app
from trainers.data.cases import Case
from trainers.recipes import Recipe
from trainers.spec import CARD_FILE, ModelSpec

__all__ = ["recipe"]
PATTERN = "(p[0-9])_"


@pytest.fixture
def sides(ball_cases: list[Case], tmp_path: Path) -> Path:
    """Six patients with two images each."""
    for case in ball_cases:
        for path in (case.image, case.label):
            path.with_name(f"{case.id}_R.nii.gz").write_bytes(path.read_bytes())
            path.rename(path.with_name(f"{case.id}_L.nii.gz"))
    return tmp_path / "data"


def run(*words: str | Path, code: int = 0) -> str:
    """What is said on standard error, on one line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["trainers", *map(str, words)])
        result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return " ".join(result.stderr.split())


def trained(data: Path, out: Path, *more: str) -> str:
    return run("train", "segmentation", "--model", "ball", "--data", data, "--out", out, "--steps", "2", *more)


def patients(ids: list[str]) -> set[str]:
    return {id.split("_")[0] for id in ids}


def test_a_pattern_keeps_a_patient_in_one_part(recipe: Recipe, sides: Path, tmp_path: Path) -> None:
    told = trained(sides, tmp_path / "m", "--patient-pattern", PATTERN)
    assert "No patient_pattern" not in told
    training = ModelSpec.load(tmp_path / "m").training
    split = {part: patients(ids) for part, ids in training["split"].items()}
    assert {part: len(ids) for part, ids in training["split"].items()} == {"train": 6, "validation": 2, "test": 4}
    assert len(split["train"] | split["validation"] | split["test"]) == 6 == sum(map(len, split.values()))
    assert training["patient_pattern"] == PATTERN and training["cases"] == 6
    assert f"--steps 2 --patient-pattern '{PATTERN}'" in training["command"]
    assert training["command"] in (tmp_path / "m" / CARD_FILE).read_text(encoding="utf-8")
    assert "data: No patient_pattern is given, so each image is taken" in trained(sides, tmp_path / "other")


def test_a_pattern_that_does_not_fit_and_too_few_patients_are_told(recipe: Recipe, sides: Path, tmp_path: Path) -> None:
    words = ("train", "segmentation", "--model", "ball", "--data", sides, "--out", tmp_path / "m")
    assert "'x+' is not found in 'p0_L'" in run(*words, "--patient-pattern", "x+", code=2)
    assert "There are 1." in run(*words, "--patient-pattern", "p", code=2)


def test_a_number_of_patients_takes_all_their_images(recipe: Recipe, sides: Path, tmp_path: Path) -> None:
    trained(sides, tmp_path / "m", "--patient-pattern", PATTERN, "--cases", "2")
    ids = ModelSpec.load(tmp_path / "m").training["split"]["train"]
    assert len(ids) == 4 and len(patients(ids)) == 2


def test_figures_on_known_patients_are_told_as_such(recipe: Recipe, sides: Path, tmp_path: Path) -> None:
    trained(sides, tmp_path / "m", "--patient-pattern", PATTERN)
    words = ("evaluate", "segmentation", "--model", tmp_path / "m", "--data", sides)
    assert "Of the 12 images ball learned from 6, and 2 were watched meanwhile" in run(*words)
    assert run(*words, "--part", "test") == ""


def test_a_model_that_does_not_tell_whom_it_learned_from(untrained: Path, sides: Path) -> None:
    words = ("evaluate", "segmentation", "--model", untrained, "--data", sides)
    assert run(*words) == "", "of a model that tells nothing, nothing can be told"
    spec = ModelSpec.load(untrained)
    replace(spec, training={"split": {"test": ["p0_L", "p1_L"], "validation": ["p2_L"]}}).save(untrained)
    assert "2 of the 12 images are of ball's test patients" in run(*words)
    replace(spec, training={"split": {"test": ["elsewhere"], "validation": []}}).save(untrained)
    assert "none of its test patients is here: these may be among those that it learned from" in run(*words)
    replace(spec, training={"split": {"train": ["elsewhere"], "test": [], "validation": []}}).save(untrained)
    assert run(*words) == ""

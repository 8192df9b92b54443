"""`python -m trainers`: trains from a recipe, measures, lists, and explains mistakes in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainers.__main__ import app
from trainers.data.cases import Case
from trainers.fit import FitConfig
from trainers.recipes import RECIPES, Recipe
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import SegmentationConfig


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def recipe(tiny_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The ball as a recipe of 30 steps."""
    fit = FitConfig(steps=30, learning_rate=5e-3, ema=0.8, precision="fp32", device="cpu", validate_every=10)
    spec = replace(tiny_spec, training={}, limits="Only balls.")
    made = Recipe(spec, SegmentationConfig((16, 16, 16)), fit, validation=1, test=2)
    monkeypatch.setitem(RECIPES, "ball", made)
    return made


def test_train_writes_a_model_that_evaluate_measures(recipe: Recipe, ball_cases: list[Case], tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "model"
    printed = run("train", "segmentation", "--model", "ball", "--data", data, "--out", out)
    assert "Dice" in printed
    spec = ModelSpec.load(out)
    assert len(spec.training["split"]["test"]) == 2 and spec.training["cases"] == 3
    assert spec.metrics["dice_mean"]["higher_is_better"] and not spec.metrics["hd95_mm_mean"]["higher_is_better"]
    card = (out / "card.md").read_text()
    assert "Only balls." in card and str(spec.metrics["dice_mean"]["value"]) in card
    report = tmp_path / "report.json"
    run(
        "evaluate",
        "segmentation",
        "--model",
        out,
        "--data",
        data,
        "--json",
        report,
        "--device",
        "cpu",
        "--part",
        "test",
    )
    measured = json.loads(report.read_text())
    assert measured["cases"] == 2 and {c["id"] for c in measured["per_case"]} == set(spec.training["split"]["test"])
    assert measured["dice_mean"] == pytest.approx(spec.metrics["dice_mean"]["value"], abs=1e-3)
    assert set(measured["per_case"][0]) >= {"id", "dice", "hd95_mm", "seconds"}


def test_evaluate_takes_all_pairs_of_a_folder(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    data = tmp_path / "data"
    run("evaluate", "segmentation", "--model", untrained, "--data", data, "--json", report, "--device", "cpu")
    assert json.loads(report.read_text())["cases"] == len(ball_cases)


@pytest.mark.parametrize("problem", ["no model", "no labels", "not an image"])
def test_mistakes_are_explained_in_a_line(
    untrained: Path, ball_cases: list[Case], tmp_path: Path, problem: str
) -> None:
    model, expected = str(untrained), ""
    if problem == "no model":
        model, expected = "unheard-of", "There is no model 'unheard-of'"
    elif problem == "no labels":
        ball_cases[0].label.unlink()
        expected = "p0.nii.gz"
    else:
        ball_cases[0].image.write_text("text")
        expected = "not a readable medical image"
    printed = run("evaluate", "segmentation", "--model", model, "--data", tmp_path / "data", code=2)
    assert expected in printed.replace("\n", " ") and "Traceback" not in printed


def test_an_unknown_recipe_names_the_known_ones(tmp_path: Path, ball_cases: list[Case]) -> None:
    printed = run("train", "segmentation", "--model", "cube", "--data", tmp_path / "data", "--out", tmp_path, code=2)
    assert "hippocampus_segmentation" in printed


def test_list_shows_models_and_recipes(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGAN_MODELS", str(untrained.parents[1]))
    printed = run("list")
    assert "ball" in printed and "hippocampus_segmentation" in printed

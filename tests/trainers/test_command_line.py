"""`python -m trainers`: trains from a recipe, measures, lists, and explains mistakes in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainers.__main__ import app
from trainers.console import ConsoleMonitor, console_monitor
from trainers.data.cases import Case
from trainers.recipes import RECIPES, Recipe
from trainers.spec import SPEC_FILE, ModelSpec
from trainers.task import FitConfig
from trainers.tasks.segmentation import SegmentationConfig


def run(*arguments: str | Path, code: int = 0) -> str:
    """What a command says: on standard output if it succeeds, on standard error if it does not."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


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
    card = (out / "card.md").read_text(encoding="utf-8")
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
    measured = json.loads(report.read_text(encoding="utf-8"))
    assert measured["cases"] == 2 and {c["id"] for c in measured["per_case"]} == set(spec.training["split"]["test"])
    assert measured["dice_mean"] == pytest.approx(spec.metrics["dice_mean"]["value"], abs=1e-3)
    assert set(measured["per_case"][0]) >= {"id", "dice", "hd95_mm", "seconds"}


def test_evaluate_takes_all_pairs_of_a_folder(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    data = tmp_path / "data"
    run("evaluate", "segmentation", "--model", untrained, "--data", data, "--json", report, "--device", "cpu")
    assert json.loads(report.read_text(encoding="utf-8"))["cases"] == len(ball_cases)


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


def test_a_damaged_model_is_listed_as_such(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGAN_MODELS", str(untrained.parents[1]))
    (untrained.with_name("v0002")).mkdir()
    (untrained.with_name("v0002") / SPEC_FILE).write_text("not json")
    lines = run("list").splitlines()
    assert any("ball" in line and "v0001" in line and "segmentation" in line for line in lines)
    assert any("ball" in line and "v0002" in line and "damaged" in line for line in lines)


def test_a_part_needs_a_split(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    command = ("evaluate", "segmentation", "--model", untrained, "--data", tmp_path / "data", "--device", "cpu")
    assert "does not tell its test patients" in run(*command, "--part", "test", code=2)
    assert "'train' is not one of 'all', 'test', 'validation'" in run(*command, "--part", "train", code=2)


def test_none_of_the_patients_is_there(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    ModelSpec.load(untrained).replace(training={"split": {"test": ["elsewhere"]}}).save(untrained)
    printed = run(
        "evaluate", "segmentation", "--model", untrained, "--data", tmp_path / "data", "--part", "test", code=2
    )
    assert "None of the test patients of ball" in printed


def test_names_with_brackets_are_shown_as_they_are(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    """Brackets are markup to the terminal library; a name may have them all the same."""
    data, odd = tmp_path / "data", tmp_path / "[bold]odd"
    assert "'[/red]'" in run("evaluate", "segmentation", "--model", "[/red]", "--data", data, code=2)
    untrained.rename(odd)
    shown = run("evaluate", "segmentation", "--model", odd, "--data", data, "--device", "cpu")
    assert "[bold]odd" in shown.replace("\n", "")


def _interrupted(*arguments: object) -> None:
    raise RuntimeError("the machine went down")


def test_a_stopped_run_with_other_settings_is_explained(
    recipe: Recipe, ball_cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train", "segmentation", "--model", "ball", "--data", tmp_path / "data", "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("trainers.tasks.segmentation.train.evaluate", _interrupted)
        run(*command, "--steps", "3", code=1)
    printed = run(*command, code=2)
    assert "other settings" in printed and "choose another --out or remove it" in printed


def test_too_few_patients_are_explained(recipe: Recipe, ball_cases: list[Case], tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = ("train", "segmentation", "--data", data, "--out", tmp_path / "out")
    assert "needs at least 41 patients: 30 test + 10 validation" in run(*command, code=2)


@pytest.mark.parametrize(("given", "expected"), [((), 0.25), (("--adversarial", "0"), 0.0)])
def test_the_adversarial_weight_is_the_recipes_unless_given(
    recipe: Recipe,
    ball_cases: list[Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    expected: float,
) -> None:
    fooling = replace(recipe, fit=replace(recipe.fit, steps=2), config=replace(recipe.config, adversarial=0.25))
    monkeypatch.setitem(RECIPES, "ball", fooling)
    run("train", "segmentation", "--model", "ball", "--data", tmp_path / "data", "--out", tmp_path / "out", *given)
    assert ModelSpec.load(tmp_path / "out").training["task"]["adversarial"] == expected


@pytest.mark.parametrize(("rank", "shown"), [("0", True), ("1", False)])
def test_only_the_first_of_several_processes_shows_a_bar(
    monkeypatch: pytest.MonkeyPatch, rank: str, shown: bool
) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with console_monitor() as monitor:
        assert isinstance(monitor, ConsoleMonitor) is shown

"""Options of all commands: numbers and places that cannot be are refused before any work is done."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from trainers.__main__ import app
from trainers.commands.shared import command_line
from trainers.data.cases import Case
from trainers.task import FitConfig

TASKS = ("segmentation", "synthesis", "reconstruction", "anomaly")
SHARED = {"--steps": "-4", "--learning-rate": "-1", "--threads": "-1", "--seed": "-1"}
WRONG = [
    *((task, option, value) for task in TASKS for option, value in SHARED.items()),
    *((task, "--batch-size", "-1") for task in TASKS[1:]),
    *((task, "--learning-rate", "nan") for task in TASKS),
    ("segmentation", "--cases", "-3"),
    ("segmentation", "--adversarial", "-1"),
    ("reconstruction", "--adversarial-steps", "-4"),
    *(("synthesis", "--spacing", value) for value in ("0", "-1", "nan", "inf")),
]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.mark.parametrize(("task", "option", "value"), WRONG)
def test_numbers_that_train_nothing_are_refused(task: str, option: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = run("train", task, "--data", tmp_path / "data", "--out", tmp_path / "out", f"{option}={value}")
    assert result.exit_code == 2 and option in result.stderr and "Invalid value" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": -4}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
     {"threads": -1}],
)  # fmt: skip
def test_settings_that_train_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="are above 0"):
        replace(FitConfig(steps=1), **wrong)


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_seeds_that_no_generator_takes_are_refused(command: str, tmp_path: Path) -> None:
    words = {
        "generate": ("generate", "chest_xray_synthesis", "--out", tmp_path / "out"),
        "evaluate": ("evaluate", "synthesis", "--model", "chest_xray_synthesis", "--real", tmp_path),
    }[command]
    result = run(*words, "--seed", str(2**70))
    assert result.exit_code == 2 and "--seed" in result.stderr and "less than" in result.stderr


def test_places_that_cannot_be_written_to_are_refused_first(
    untrained: Path, ball_cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    data, file = tmp_path / "data", tmp_path / "file"
    monkeypatch.setattr(
        "trainers.commands.segmentation.evaluate", lambda *_: pytest.fail("it was measured for nothing")
    )
    measure = ("evaluate", "segmentation", "--model", untrained, "--data", data, "--json")
    for words, message in (
        ((*measure, data), "is a folder. Give the name of a file"),
        ((*measure, file / "r.json"), "is a file, so nothing can be written into it"),
        (("generate", "chest_xray_synthesis", "--out", file), "is a file"),
        (("generate", "chest_xray_synthesis", "--out", file / "x"), "is a file"),
        (("reconstruct", "mr_denoising", "--input", file, "--out", file), "is a file"),
        *((("train", task, "--data", data, "--out", file), "is a file") for task in TASKS),
    ):
        result = run(*words)
        assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", " ").split()), words


def test_what_the_system_refuses_is_told_in_a_line(
    untrained: Path, ball_cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("trainers.commands.shared.atomic_write_json", full)
    words = ("--model", untrained, "--data", tmp_path / "data", "--json", tmp_path / "r.json")
    result = run("evaluate", "segmentation", *words)
    assert result.exit_code == 2 and "r.json cannot be read or written: No space left on device." in result.stderr


@pytest.mark.parametrize(
    "words",
    [("generate", "chest_xray_synthesis", "--out", "OUT"), ("evaluate", "segmentation", "--data", "DATA", "--model")],
)
def test_a_device_that_there_is_not_is_told_in_a_line(
    words: tuple[str, ...], untrained: Path, ball_cases: list[Case], tmp_path: Path
) -> None:
    places = {"OUT": tmp_path / "out", "DATA": tmp_path / "data"}
    more = (untrained,) if words[-1] == "--model" else ()
    result = run(*(places.get(word, word) for word in words), *more, "--device", "foo")
    assert result.exit_code == 2 and "There is no device 'foo'" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "/home/me/set", "--out", "m"], "--data DIR --out DIR"),
        (["--data=/home/me/set", "--steps=3", "--out=/home/me/m"], "--data=DIR --steps=3 --out=DIR"),
        (["--data", "--out", "--out", "x"], "--data DIR --out DIR"),
    ],
)
def test_places_on_this_machine_are_not_in_the_card(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["trainers", "train", "anomaly", *words])
    assert command_line() == f"python -m trainers train anomaly {expected}"


def test_names_of_models_are_whole_in_a_narrow_list() -> None:
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "80"})
    for name in ("hippocampus_segmentation", "hippocampus_synthesis", "hippocampus_anomaly", "ct_mr_pet_fusion"):
        assert any(name in line and "v0001" in line for line in result.stdout.splitlines()), name

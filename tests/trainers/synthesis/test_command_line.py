"""`train synthesis`, `evaluate synthesis` and `generate`: from a set of pictures to a synthetic one, and mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.trainers.synthesis.conftest import squares
from tests.trainers.test_command_line import run
from trainers.__main__ import app
from trainers.data.readers import open_data
from trainers.data.sets import DataSet
from trainers.recipes import SYNTHESIS_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.synthesis import SynthesisRecipe


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A MedMNIST file of small pictures in two classes."""
    made = squares(150)
    pictures = ((made.array[:, 0].transpose(0, 2, 1) + 1) * 127.5).astype(np.uint8)
    np.savez(tmp_path / "squares.npz", train_images=pictures, train_labels=made.targets)
    return tmp_path / "squares.npz"


def test_train_synthesis_writes_a_model_to_measure_and_to_generate_from(
    few_images: None, tiny_encoder: None, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report, made = tmp_path / "model", tmp_path / "report.json", tmp_path / "made"
    command = ("train", "synthesis", "--preset", "dcgan", "--data", archive, "--out", out, "--batch-size", "8")
    monkeypatch.setattr("sys.argv", ["trainers", *map(str, command)])
    printed = run(*command, "--steps", "3", "--threads", "1", "--seed", "4")
    assert "kid" in printed and "made against real" in printed
    spec = ModelSpec.load(out)
    assert spec.training["task"]["seed"] == 4 and spec.training["task"]["preset"] == "dcgan"
    assert spec.training["fit"]["steps"] == 3 and spec.training["fit"]["batch_size"] == 8
    assert spec.training["fit"]["learning_rate"] == 2e-4 and spec.training["fit"]["betas"] == [0.5, 0.999]
    assert spec.training["command"] == (
        "python -m trainers train synthesis --preset dcgan --data DIR --out DIR --batch-size 8"
    )
    printed = run("evaluate", "synthesis", "--model", out, "--real", archive, "--n", "24", "--json", report)
    measured = json.loads(report.read_text(encoding="utf-8"))
    assert set(measured) >= {"kid", "fid", "mmd", "precision", "recall", "density", "coverage", "ms_ssim", "privacy"}
    assert measured["model"] == "squares_synthesis" and measured["made"] == 24
    assert measured["real"] == len(spec.training["patients"]["test"]) == 15  # known patients are left out
    assert "at least 20" in measured["notes"][0] and "at least 20" in printed.replace("\n", " ")
    assert "2 synthetic images" in run("generate", out, "--out", made, "--n", "2", "--seed", "5")
    assert [p.name for p in sorted((made / "images").iterdir())] == ["synthetic_000005.png", "synthetic_000006.png"]
    assert "is not empty" in run("generate", out, "--out", made, code=2)
    assert "no class 'left'" in run("generate", out, "--out", tmp_path / "more", "--class", "left", code=2)


def test_the_privacy_audit_is_shown(picture_model: Path, archive: Path, tmp_path: Path) -> None:
    data = open_data(archive).entries
    ModelSpec.load(picture_model).replace(
        training={"patients": {"train": [e.patient for e in data[:60]], "validation": [], "test": []}}
    ).save(copied(picture_model, tmp_path / "model"))
    command = ("evaluate", "synthesis", "--model", tmp_path / "model", "--real", archive, "--n", "24")
    printed = run(*command, "--json", tmp_path / "r.json")
    assert "privacy audit" in printed and "membership AUROC" in printed and "by grey values" in printed
    measured = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert measured["privacy"]["images"] == {"train": 60, "held_out": 90, "synthetic": 24}


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder))


def test_a_recipe_takes_another_window(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[SynthesisRecipe] = []
    monkeypatch.setattr("trainers.commands.synthesis.train", lambda recipe, *_: given.append(recipe))
    command = ("train", "synthesis", "--data", archive, "--out", tmp_path / "out")
    run(*command, "--model", "chest_xray_synthesis", "--window", "16x20")
    run(*command, "--model", "chest_xray_synthesis")
    run(*command, "--model", "chest_xray_synthesis", "--preset", "wgan", "--learning-rate", "0.01")
    run(*command)
    assert [r.preprocess.window for r in given] == [(16, 20), (28, 28), (28, 28), (12, 10)]
    own = SYNTHESIS_RECIPES["chest_xray_synthesis"].fit.learning_rate
    assert [r.fit.learning_rate for r in given] == [own, own, 0.01, 2e-4]
    assert given[2].config.preset == "wgan" and given[2].fit.betas == (0.0, 0.9)
    assert "makes 2D images; give 2 numbers" in run(
        *command, "--model", "chest_xray_synthesis", "--window", "16x16x16", code=2
    )


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "preset": (("--preset", "biggan"), "no preset 'biggan'. Known: gan, dcgan, wgan"),
    "recipe": (("--model", "cube"), "no recipe 'cube'. Known: hippocampus_synthesis"),
    "window": (("--window", "large"), "--window 'large' is not a size. Write it like 64x64"),
    "small window": (("--window", "4x4"), "'4x4' is too small"),
    "dimensions": (("--window", "16x16x16"), "squares is 2D; give 2 numbers"),
    "masks": (("--masks",), "squares has no label maps"),
    "kind": (("--kind", "dicomweb"), "no data reader 'dicomweb'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_training_are_explained_in_a_line(archive: Path, tmp_path: Path, mistake: str) -> None:
    options, message = MISTAKES[mistake]
    printed = run("train", "synthesis", "--data", archive, "--out", tmp_path / "out", *options, code=2)
    assert message in printed and "Traceback" not in printed and len(printed.strip().splitlines()) == 1


def test_mistakes_in_measuring_and_generating_are_explained(
    untrained: Path, picture_model: Path, archive: Path, tmp_path: Path
) -> None:
    measure = ("evaluate", "synthesis", "--real", archive, "--n", "24", "--model")
    assert "There is no model 'cube'" in run(*measure, "cube", code=2)
    assert "ball is a model for segmentation, not for synthesis" in run(*measure, untrained, code=2)
    assert "not for synthesis" in run("generate", untrained, "--out", tmp_path / "out", code=2)
    assert "no class 'up'. Known: left, right" in run(
        "generate", picture_model, "--out", tmp_path / "out", "--class", "up", code=2
    )
    spec, folder = ModelSpec.load(picture_model), copied(picture_model, tmp_path / "known")
    everyone = [e.patient for e in open_data(archive).entries]
    spec.replace(training={"patients": {"train": everyone}}).save(folder)
    assert "The model learned from all images" in run(*measure, folder, code=2)
    spec.replace(training={"patients": {"train": everyone[5:], "validation": everyone[:5]}}).save(folder)
    assert "and the other 5 were watched meanwhile" in run(*measure, folder, code=2)
    spec.replace(training={"patients": {"train": everyone[5:]}}).save(folder)
    assert "features of 5 images; at least 12 are needed" in run(*measure, folder, code=2)
    spec.replace(parts={}).save(folder)
    assert "has no encoder" in run(*measure, folder, code=2)


def test_images_that_may_be_known_are_told(picture_model: Path, archive: Path, tmp_path: Path) -> None:
    spec, folder = ModelSpec.load(picture_model), copied(picture_model, tmp_path / "old")
    patients = {"train": None, "train_fingerprint": "0", "validation": [], "test": ["elsewhere"]}
    spec.replace(training={"patients": patients}).save(folder)
    words = ["evaluate", "synthesis", "--real", str(archive), "--n", "12", "--model", str(folder)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "these may be training images" in " ".join(result.stderr.split())


def test_list_shows_presets_and_synthesis_recipes() -> None:
    printed = " ".join(run("list").split())
    assert "chest_xray_synthesis" in printed and "wgan-gp, cgan, acgan, default" in printed


def test_sub_folders_are_what_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[DataSet] = []
    monkeypatch.setattr("trainers.commands.synthesis.train", lambda recipe, data, *_: given.append(data))
    for name in ("001", "002"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (16, 16)).save(tmp_path / "data" / name / f"{name}-{number}.png")
    for option in ("--classes", "--patients"):
        run("train", "synthesis", "--data", tmp_path / "data", "--out", tmp_path / "out", "--window", "16x16", option)
    classes, patients = given
    assert classes.classes == ("001", "002") and len({e.patient for e in classes.entries}) == 6
    assert patients.classes == () and {e.patient for e in patients.entries} == {"001", "002"}

"""From the command line: train, measure on patients and on folders, and mistakes in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.trainers.data.files import picture
from trainers.__main__ import app
from trainers.data.readers.sequences import open_sequences
from trainers.recipes import FUSION_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.fusion.infer import Fuser

from .conftest import NETWORK

NAME = "ct_mr_pet_fusion"


def run(*words: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "220"})
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """The recipe, as far as a test has time for it."""
    recipe = FUSION_RECIPES[NAME]
    fit = replace(recipe.fit, steps=3, batch_size=2, validate_every=0)
    config = replace(recipe.config, patch=(44, 44))
    changed = replace(recipe, spec=recipe.spec.replace(network=NETWORK), fit=fit, config=config, steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FUSION_RECIPES, NAME, replace(changed, validation=1, test=2))
        yield


@pytest.fixture(scope="module")
def patients(clinic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clinic's, of whom CT and PET are there."""
    folder = tmp_path_factory.mktemp("patients") / "clinic"
    shutil.copytree(clinic, folder, ignore=shutil.ignore_patterns("MR*"))
    return folder


@pytest.fixture(scope="module")
def model(small: None, patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "model"
    run("train", "reconstruction", "--model", NAME, "--data", patients, "--out", out)
    return out


def test_it_trains_and_is_measured_on_patients_kept_away(model: Path, patients: Path, tmp_path: Path) -> None:
    files = {path.name for path in model.iterdir()}
    weights, told = {"model.safetensors", "gan.safetensors"}, {"figures.json", "samples.png", "card.md"}
    assert files == {*weights, *told, "spec.json", "split.json", "stages.json"}
    spec, card = ModelSpec.load(model), (model / "card.md").read_text()
    assert {"EN_safe_CT_PET_SUV", "SSIM_gan_CT_PET_SUV"} < set(spec.metrics) and len(spec.metrics) == 12
    assert "pixel-max" in card and "95 %" in card and "Ahead of the brighter of both" in card
    split = spec.training["patients"]
    assert {part: len(ids) for part, ids in split.items()} == {"train": 3, "validation": 1, "test": 2}
    printed = run("evaluate", "reconstruction", "--model", model, "--data", patients, "--json", tmp_path / "r.json")
    assert "ahead" in printed and "of 6" in printed
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["model"] == NAME and [pair["pair"] for pair in report["pairs"]] == ["CT + PET_SUV"]
    assert {p["id"] for p in report["pairs"][0]["per_patient"]} == set(split["test"])
    assert report["pairs"] == json.loads((model / "figures.json").read_text())["pairs"]


def test_weights_that_are_there_are_not_trained_again(model: Path, patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    shutil.copytree(model, out)
    (out / "gan.safetensors").unlink()
    words = ("train", "reconstruction", "--model", NAME, "--data", patients, "--out", out)
    run(*words)
    assert (out / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert (out / "gan.safetensors").is_file()
    assert "trained in another way" in run(*words, "--seed", "5", code=2)


def test_folders_of_pictures_are_measured(model: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("1001", "1002", "2001"):
        for folder in ("CT", "MRI"):
            picture(tmp_path / folder / f"{name}.png", random.integers(0, 256, (20, 24), np.uint8))
    inputs = ("--inputs", tmp_path / "CT", "--inputs", tmp_path / "MRI")
    run("evaluate", "reconstruction", "--model", model, *inputs, "--json", tmp_path / "r.json")
    (pair,) = json.loads((tmp_path / "r.json").read_text())["pairs"]
    assert pair["pair"] == "CT + MRI" and [p["id"] for p in pair["per_patient"]] == ["1", "2"]
    assert set(pair["ahead_of_pixel_max"]) == {"average", "safe", "gan"}
    seen = ("--modality", "CT", "--modality", "MR")
    run("evaluate", "reconstruction", "--model", model, *inputs, *seen, "--json", tmp_path / "s.json")
    (through,) = json.loads((tmp_path / "s.json").read_text())["pairs"]
    assert through["methods"]["pixel-max"]["SD"] != pair["methods"]["pixel-max"]["SD"]


def test_patients_in_folders_are_known_again_by_a_pattern(model: Path, patients: Path, tmp_path: Path) -> None:
    split = ModelSpec.load(model).training["patients"]
    learned, unseen = split["train"][0], split["test"][0]
    for name in ("CT", "PET_SUV"):
        (tmp_path / name).mkdir()
        for patient in (learned, unseen):
            shutil.copy(patients / patient / f"{name}.nii.gz", tmp_path / name / f"{patient}_scan.nii.gz")
    words = ("evaluate", "reconstruction", "--model", model, "--json", tmp_path / "r.json")
    inputs = ("--inputs", tmp_path / "CT", "--inputs", tmp_path / "PET_SUV")
    run(*words, *inputs, "--patient-pattern", "(.+)_scan")
    (pair,) = json.loads((tmp_path / "r.json").read_text())["pairs"]
    assert [p["id"] for p in pair["per_patient"]] == [unseen]
    assert "'x+' is not found in" in run(*words, *inputs, "--patient-pattern", "x+", code=2)
    assert "leave it out with --inputs" in run(*words, *inputs, "--kind", "pairs", code=2)
    told = CliRunner().invoke(app, [*map(str, words), *map(str, inputs)]).stderr
    assert "patients go by the file names" in " ".join(told.split())


def test_mistakes_are_told_in_a_line(model: Path, patients: Path, tmp_path: Path) -> None:
    (tmp_path / "CT").mkdir()
    cases: dict[str, tuple[str | Path, ...]] = {
        "no --target for fusion": ("--data", patients, "--target", patients),
        "Give --data, or --inputs": ("--inputs", patients),
        "at least two folders": ("--data", patients, "--inputs", patients, "--inputs", tmp_path),
        "no modality 'US'": ("--data", patients, "--modality", "US"),
        "no volumes or pictures": ("--inputs", patients, "--inputs", tmp_path / "CT"),
    }
    for message, words in cases.items():
        assert message in run("evaluate", "reconstruction", "--model", model, *words, code=2)
    picture(tmp_path / "P1/CT/a.png", np.zeros((20, 20), np.uint8))
    words = ("train", "reconstruction", "--model", NAME, "--out", tmp_path / "o")
    assert "fusion learns from volumes" in run(*words, "--data", tmp_path / "P1", code=2)


@pytest.mark.realdata
def test_a_real_patient_is_fused(real_data: Path, spec: ModelSpec) -> None:
    """Through the shipped windows, CT and PET of a thigh show tissue and uptake."""
    from trainers.data.volumes import read_volume

    from .conftest import network

    folder = real_data / "sts_pet_ct_mr" / "STS_042"
    images = {"image": read_volume(folder / "CT.nii.gz"), "second": read_volume(folder / "PET_SUV.nii.gz")}
    found = Fuser.from_networks(spec, network()).reconstruct(images)
    assert found.image.shape == images["image"].shape and found.warnings == []
    np.testing.assert_array_equal(found.beside["CT"].array, images["image"].array)
    assert 4 < found.beside["PET"].array.max() <= images["second"].array.max()
    assert 20 < found.image.array.std() < 110
    assert open_sequences(real_data / "sts_pet_ct_mr", ("CT", "PET_SUV")).channels == ("CT", "PET_SUV")

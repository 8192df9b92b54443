"""From the command line: train, stop, go on, measure; cards and specs say what was done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from trainers.__main__ import app
from trainers.recipes import RECONSTRUCTION_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.measurements import measurement_of

PATIENTS = 10
SMALL = {
    "SuperResolver": {"channels": 8, "blocks": 1},
    "UnrolledReconstructor": {"cascades": 1, "channels": [4, 8]},
    "Denoiser": {"channels": 8, "blocks": 1},
    "Translator": {"channels": [4, 8, 8]},
}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small volumes."""
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "images").mkdir()
    for number in range(PATIENTS):
        random = np.random.default_rng(number)
        smooth = ndimage.gaussian_filter(random.normal(size=(18, 20, 16)), 1.5)
        array = (900 * (smooth > 0) + 50 * random.random(smooth.shape)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "images" / f"patient_{number:02d}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a patient, with a CT and two MR."""
    folder = tmp_path_factory.mktemp("hospital")
    for number in range(PATIENTS):
        random = np.random.default_rng(number)
        tissue = ndimage.gaussian_filter(random.normal(size=(20, 18, 4)), 2) > 0
        found = {"CT": np.where(tissue, 50, -900), "MR_T1": np.where(tissue, 300, 10), "t1": 500 * tissue + 1}
        (folder / f"P{number}").mkdir()
        for name, array in {**found, "t2": 300 - 200 * tissue}.items():
            noisy = np.maximum(array + random.normal(0, 5, array.shape), -1000 if name == "CT" else 0)
            image = nib.Nifti1Image(noisy.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
            nib.save(image, folder / f"P{number}" / f"{name}.nii.gz")
    return folder


def run(*words: str | Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["trainers", *map(str, words)])
        result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes that a test has time for."""
    for name, recipe in list(RECONSTRUCTION_RECIPES.items()):
        network = {**recipe.spec.network}
        network |= SMALL[network["name"]]
        fit = replace(recipe.fit, batch_size=2, validate_every=0)
        config = replace(recipe.config, patch=tuple(16 for _ in recipe.config.patch))
        spec = recipe.spec.replace(network=network)
        if "low_dose" in spec.preprocess.values():
            spec = spec.replace(preprocess={**spec.preprocess, "views": 20})
        changed = replace(recipe, spec=spec, fit=fit, config=config, validation=2, test=3)
        monkeypatch.setitem(RECONSTRUCTION_RECIPES, name, changed)


@pytest.mark.parametrize("model", RECONSTRUCTION_RECIPES)
def test_every_recipe_trains_and_is_measured(
    clinic: Path, hospital: Path, tmp_path: Path, small: None, model: str
) -> None:
    out, found = tmp_path / model, tmp_path / "found.json"
    clinic = hospital if measurement_of(RECONSTRUCTION_RECIPES[model].spec.preprocess).sequences else clinic
    steps = ("--steps", "3", "--adversarial-steps", "2")
    output = run("train", "reconstruction", "--model", model, "--data", clinic, "--out", out, *steps)
    assert "L1 weights gain" in output
    files = {path.name for path in out.iterdir()}
    weights, told = {"model.safetensors", "gan.safetensors"}, {"figures.json", "samples.png", "card.md"}
    assert files == {*weights, *told, "spec.json", "split.json", "stages.json"}
    assert "95 %" in (out / "card.md").read_text()
    spec = ModelSpec.load(out)
    variants = list(measurement_of(spec.preprocess).variants())
    for suffix in (f"_{name}" if name else "" for name in variants):
        assert {f"psnr_l1{suffix}", f"ssim_l1{suffix}", f"texture_gan{suffix}"} <= set(spec.metrics)
    assert len(spec.training["patients"]["train"]) == PATIENTS - 5
    assert "--data DIR --out DIR" in spec.training["command"] and str(tmp_path) not in (out / "card.md").read_text()
    output = run("evaluate", "reconstruction", "--model", out, "--data", clinic, "--json", found)
    told = json.loads(found.read_text())
    assert told["cases"] == 3, "those that it learned from or was watched on are left out"
    assert {"l1", "gan"} < set(told["methods"]) and "psnr" in output
    assert told["methods"]["l1"]["psnr"]["low"] <= told["methods"]["l1"]["psnr"]["value"]
    assert [told["variant"], *told["variants"]] == variants
    if Reconstructor(out).measurement.exact:
        for part in (told, *told["variants"].values()):
            assert part["methods"]["gan"]["contradiction"]["value"] < 1e-5


def test_weights_that_are_there_are_not_trained_again(clinic: Path, tmp_path: Path, small: None) -> None:
    words = ["train", "reconstruction", "--data", clinic, "--out", tmp_path / "m", "--steps", "3"]
    run(*words, "--adversarial-steps", "2")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    (tmp_path / "m" / "gan.safetensors").unlink()
    run(*words, "--adversarial-steps", "2")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    assert (tmp_path / "m" / "gan.safetensors").is_file()
    told = ModelSpec.load(tmp_path / "m").training
    assert set(told["minutes"]) == {"l1", "gan"}, "also of the weights that were there"


def test_weights_of_another_training_are_not_passed_off(clinic: Path, tmp_path: Path, small: None) -> None:
    words = ["train", "reconstruction", "--data", str(clinic), "--out", str(tmp_path / "m"), "--adversarial-steps", "2"]
    run(*words, "--steps", "3")
    other = CliRunner().invoke(app, [*words, "--steps", "4"])
    assert other.exit_code == 2 and "another way" in other.output


def test_mistakes_are_told_in_one_line(clinic: Path, tmp_path: Path, small: None) -> None:
    wrong = CliRunner().invoke(app, ["train", "reconstruction", "--data", str(clinic), "--out", "x", "--model", "y"])
    assert wrong.exit_code == 2 and "no recipe" in wrong.output
    few = tmp_path / "few"
    (few / "images").mkdir(parents=True)
    one = clinic / "images" / "patient_00.nii.gz"
    (few / "images" / one.name).write_bytes(one.read_bytes())
    wrong = CliRunner().invoke(app, ["train", "reconstruction", "--data", str(few), "--out", str(tmp_path / "o")])
    assert wrong.exit_code == 2


def test_translation_is_measured_on_folders_of_each_modality(hospital: Path, tmp_path: Path, small: None) -> None:
    out, steps = tmp_path / "m", ("--steps", "3", "--adversarial-steps", "2")
    run("train", "reconstruction", "--model", "mr_to_ct", "--data", hospital, "--out", out, *steps)
    for name in ("MR_T1", "CT"):
        (tmp_path / name).mkdir()
        for number in range(PATIENTS):
            file = hospital / f"P{number}" / f"{name}.nii.gz"
            (tmp_path / name / f"P{number}.nii.gz").write_bytes(file.read_bytes())
    words = ["evaluate", "reconstruction", "--model", str(out), "--inputs", str(tmp_path / "MR_T1")]
    run(*words, "--target", str(tmp_path / "CT"), "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["cases"] == 3 and found["methods"]["l1"]["mae"]["value"] > 0, "patients it knows are left out"
    for name in ("MR_T1", "CT"):
        for file in list((tmp_path / name).iterdir()):
            file.rename(file.with_name(f"{file.name.removesuffix('.nii.gz')}_scan.nii.gz"))
    named = ("--target", str(tmp_path / "CT"), "--patient-pattern", "(.+)_scan")
    run(*words, *named, "--json", str(tmp_path / "found.json"))
    assert json.loads((tmp_path / "found.json").read_text())["cases"] == 3
    for more, message in (([], "Give --data"), (["--modality", "CT"], "leave --modality out")):
        wrong = CliRunner().invoke(app, [*words, *more])
        assert wrong.exit_code == 2 and message in wrong.output


@pytest.mark.parametrize(("shape", "message"), [((2, 20, 20), "too thin for SSIM"), ((19, 20, 16), "has no contrast")])
def test_a_volume_that_cannot_be_measured_is_named(
    clinic: Path, tmp_path: Path, small: None, shape: tuple[int, int, int], message: str
) -> None:
    """A volume with contrast at its last, odd column alone is flat when that is cut off."""
    array = np.zeros(shape, np.float32)
    array[-1] = 100
    (tmp_path / "few").mkdir()
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "few" / "small_one.nii.gz")
    out = tmp_path / "m"
    run("train", "reconstruction", "--data", clinic, "--out", out, "--steps", "1", "--adversarial-steps", "1")
    words = ["evaluate", "reconstruction", "--model", str(out), "--data", str(tmp_path / "few")]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    assert "small_one: " in result.stderr and message in result.stderr


def test_evaluation_names_patients_as_the_training_did(
    clinic: Path, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a patient's other name would be nobody's, and training patients would be measured on."""
    out, found, pattern = tmp_path / "m", tmp_path / "found.json", "patient_([0-9]+)"
    data = ("--data", clinic / "images")
    run("train", "reconstruction", *data, "--out", out, "--steps", "2", "--adversarial-steps", "1",
        "--patient-pattern", pattern)  # fmt: skip
    training = ModelSpec.load(out).training
    assert training["patient_pattern"] == pattern and set(training["patients"]["test"]) < {
        f"{n:02d}" for n in range(10)
    }
    run("evaluate", "reconstruction", "--model", out, *data, "--json", found)
    assert json.loads(found.read_text())["cases"] == 3, "those of the test"
    run("evaluate", "reconstruction", "--model", out, *data, "--json", found, "--patient-pattern", "")
    assert json.loads(found.read_text())["cases"] == PATIENTS, "as was asked for"

"""`reconstruct`: files in, marked files out, and mistakes told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from trainers.__main__ import app
from trainers.data.volumes import Volume, read_metadata, read_volume, write_volume
from trainers.networks import build
from trainers.spec import ModelSpec, part_file, save_weights

RESOLVER = {"name": "SuperResolver", "spatial_dims": 3, "factors": [2, 2, 2], "channels": 4, "fine_channels": 4}
UNROLLED = {"name": "UnrolledReconstructor", "cascades": 1, "channels": [4, 8]}


def model(folder: Path, network: dict[str, object], measurement: str) -> Path:
    spec = ModelSpec("m", "reconstruction", "M", "", network, {"measurement": measurement}, parts={"gan": network})
    spec.replace(inputs=[{"name": "image", "modality": "MR"}], version="v0001").save(folder)
    save_weights(build(network), folder / "model.safetensors")
    save_weights(build(network), part_file(folder, "gan"))
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(100, 900, (12, 14, 10)).astype(np.int16)
    write_volume(tmp_path / "study.nii.gz", Volume(array, np.diag([1.0, 1.0, 2.0, 1.0])))
    return tmp_path / "study.nii.gz"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["reconstruct", *map(str, words)])


def test_files_tell_what_made_them(tmp_path: Path, study: Path) -> None:
    folder, out = model(tmp_path / "m", RESOLVER, "super_resolution"), tmp_path / "out"
    assert run(folder, "--input", study, "--out", out, "--option", "scale=4").exit_code == 0
    image, told = read_volume(out / "image.nrrd"), json.loads((out / "result.json").read_text())
    assert image.shape == (48, 56, 40) and image.spacing == pytest.approx([0.25, 0.25, 0.5])
    assert told["contradiction"] < 1e-3 and told["gan_altered"] is False and told["warnings"] == []
    assert "MedGAN.Altered" not in read_metadata(out / "image.nrrd")
    result = run(folder, "--input", study, "--out", out, "--strength", "0.5")
    assert result.exit_code == 0 and "altered by a GAN" in result.output
    assert read_metadata(out / "image.nrrd")["MedGAN.Altered"] == "true"
    assert json.loads((out / "result.json").read_text())["gan_altered"] is True
    assert (out / "uncertainty.nrrd").is_file()


def test_k_space_and_a_simulated_mask(tmp_path: Path, study: Path) -> None:
    folder, out = model(tmp_path / "m", UNROLLED, "undersampling"), tmp_path / "out"
    assert run(folder, "--input", study, "--out", out, "--option", "acceleration=2").exit_code == 0
    assert read_volume(out / "image.nrrd").shape == (12, 14, 10)
    assert "simulated" in json.loads((out / "result.json").read_text())["warnings"][0]
    samples = np.random.default_rng(0).normal(size=(3, 12, 10)) + 0j
    np.save(tmp_path / "k.npy", samples.astype(np.complex64))
    assert run(folder, "--input", tmp_path / "k.npy", "--out", out).exit_code == 0
    assert read_volume(out / "image.nrrd").shape == (12, 10, 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--option", "scale"], "is no option"),
        (["--option", "colour=red"], "is no option"),
        (["--option", "scale=3"], "no scale 3"),
        (["--option", "acceleration=4"], "m has no option acceleration. Its options: scale."),
        (["--input", "again.nii.gz"], "takes 1 images, in this order: image (MR)"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, study: Path, more: list[str], message: str) -> None:
    folder = model(tmp_path / "m", RESOLVER, "super_resolution")
    result = run(folder, "--input", study, "--out", tmp_path / "out", *more)
    assert result.exit_code == 2 and message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_model_without_options_takes_none(tmp_path: Path, study: Path) -> None:
    denoiser = {"name": "Denoiser", "spatial_dims": 3, "channels": 4}
    folder = model(tmp_path / "m", denoiser, "noise")
    result = run(folder, "--input", study, "--out", tmp_path / "out", "--option", "scale=2")
    assert result.exit_code == 2 and "m has no option scale. It has none." in " ".join(result.output.split())


@pytest.mark.parametrize("more", [["--input", "second.nii.gz"], ["--option", "acceleration=8"]])
def test_k_space_is_taken_as_it_was_measured(tmp_path: Path, more: list[str]) -> None:
    folder = model(tmp_path / "m", UNROLLED, "undersampling")
    np.save(tmp_path / "k.npy", np.ones((3, 12, 10), np.complex64))
    result = run(folder, "--input", tmp_path / "k.npy", "--out", tmp_path / "out", *more)
    assert result.exit_code == 2 and "give one --input alone" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()

"""Reconstruction over HTTP: finer grids that stay in place, uncertainty beside, what a GAN altered is marked."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import CLEANER, FINER, client_of, error, infer, make_reconstruction

from monailabel_app.config import ServerConfig
from monailabel_app.infers import reconstruction
from monailabel_app.synthetic import Mark, mark_of
from trainers.data.volumes import Volume, read_metadata, read_volume, same_grid, write_volume
from trainers.marks import altered_header
from trainers.networks import build
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models. Not to be changed."""
    return make_reconstruction(tmp_path_factory.mktemp("models"))


@pytest.fixture
def study() -> Volume:
    """Oblique, anisotropic, int16."""
    random = np.random.default_rng(0)
    affine = np.array([[0.9, -0.1, 0, 10], [0.1, 0.9, 0, -20], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])
    return Volume(random.integers(0, 900, (10, 12, 9)).astype(np.int16), affine)


@pytest.fixture
def client(models: Path, study: Volume, tmp_path: Path) -> TestClient:
    (tmp_path / "studies").mkdir()
    write_volume(tmp_path / "studies" / "head.nii.gz", study)
    return client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))


def parts(client: TestClient, folder: Path, model: str, **params: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    """The manifest and the files of a bundle."""
    answer = infer(client, model, {"image": "head", "output": "image"}, result_extension=".zip", **params)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest, {part["name"]: folder / part["file"] for part in manifest["parts"]}


def test_a_single_file_has_the_image_of_the_bundle(client: TestClient, tmp_path: Path) -> None:
    """It has no place for the uncertainty, which is not computed then."""
    manifest, files = parts(client, tmp_path / "bundle", FINER, strength=0.5)
    assert {part["name"] for part in manifest["parts"]} == {"image", "uncertainty"}
    answer = infer(client, FINER, {"image": "head", "output": "image"}, result_extension=".nrrd", strength=0.5)
    (tmp_path / "alone.nrrd").write_bytes(answer.content)
    alone, bundled = read_volume(tmp_path / "alone.nrrd"), read_volume(files["image"])
    assert np.array_equal(alone.array, bundled.array) and np.allclose(alone.affine, bundled.affine)


def test_info(client: TestClient) -> None:
    found = client.get("/info/").json()["models"]
    options = found[FINER]["medgan"]["options"]["properties"]
    assert options["scale"]["enum"] == ["2x", "4x"] and options["scale"]["default"] == "2x"
    assert options["strength"]["x-widget"] == "slider" and options["strength"]["default"] == 0
    assert options["test_time_augmentation"]["default"] is True
    assert set(found[CLEANER]["medgan"]["options"]["properties"]) == {"test_time_augmentation"}, "it has no other"
    assert found[FINER]["medgan"]["task"] == "reconstruction" and found[FINER]["medgan"]["output"] == "volume"


def test_a_finer_image_lies_where_the_study_does_and_agrees_with_it(
    client: TestClient, study: Volume, tmp_path: Path
) -> None:
    manifest, files = parts(client, tmp_path, FINER, scale="4x")
    image, doubt = (read_volume(files[name]) for name in ("image", "uncertainty"))
    assert image.shape == (40, 48, 36) and same_grid(image, doubt)
    first, corner = study.affine @ [-0.5, -0.5, -0.5, 1], image.affine @ [-0.5, -0.5, -0.5, 1]
    assert corner == pytest.approx(first, abs=1e-4), "the edge of the first voxel"
    assert image.spacing == pytest.approx(study.spacing / 4, rel=1e-4)
    blocks = image.array.reshape(10, 4, 12, 4, 9, 4).mean((1, 3, 5))
    assert np.linalg.norm(blocks - study.array) / np.linalg.norm(study.array) < 1e-3
    assert manifest["contradiction"] < 1e-3 and manifest["gan_altered"] is False and manifest["warnings"] == []
    assert (doubt.array > 0).all() and image.array.dtype == np.float32


def test_what_a_gan_altered_says_so_everywhere(client: TestClient, tmp_path: Path) -> None:
    manifest, files = parts(client, tmp_path, FINER, strength=0.5)
    assert manifest["gan_altered"] is True and "GAN" in manifest["warnings"][0]
    (image,) = (part for part in manifest["parts"] if part["name"] == "image")
    assert image["altered"] is True and image["strength"] == 0.5
    assert read_metadata(files["image"])["MedGAN.Altered"] == "true"
    assert mark_of(files["image"]) == Mark(FINER, "v0001"), "as a study it would count as synthetic"
    answer = infer(client, FINER, {"image": "head", "output": "image"}, strength=0.5)
    path = tmp_path / "one.nii.gz"
    path.write_bytes(answer.content)
    assert mark_of(path) == Mark(FINER, "v0001"), "NIfTI keeps the note alone"
    safe = infer(client, FINER, {"image": "head", "output": "image"})
    path.write_bytes(safe.content)
    assert mark_of(path) is None


def test_what_is_made_of_a_synthetic_image_is_marked_too(client: TestClient, study: Volume, tmp_path: Path) -> None:
    write_volume(tmp_path / "made.nrrd", study, Mark("head_synthesis", "v0001", 5).header())
    files = {"file": ("made.nrrd", (tmp_path / "made.nrrd").read_bytes())}
    answer = infer(client, FINER, {"output": "image"}, files, result_extension=".zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["gan_altered"] is True and "is synthetic" in manifest["warnings"][0]
    assert mark_of(tmp_path / "image.nrrd") == Mark(FINER, "v0001")
    assert [part.get("altered", False) for part in manifest["parts"]] == [True, False], "the image, not the uncertainty"


def test_it_says_how_far_it_agrees_with_what_was_measured(client: TestClient, tmp_path: Path) -> None:
    safe, _ = parts(client, tmp_path, FINER)
    assert re.fullmatch(r"Averaged back, it equals what was measured to \de-\d+\.", safe["consistency"])
    altered, _ = parts(client, tmp_path, FINER, strength=0.5)
    assert altered["consistency"].endswith("Within that, a GAN added what was not measured.")
    cleaner, _ = parts(client, tmp_path, CLEANER)
    assert cleaner["consistency"] == "What was taken away as noise is not checked against a measurement."


def test_a_long_name_cannot_cut_the_mark_off(study: Volume, tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", study, altered_header("m" * 120, "v0001", 0.5))
    write_volume(tmp_path / "b.nrrd", study, altered_header("m" * 120, "v0001", 0.5))
    assert mark_of(tmp_path / "a.nii.gz") == Mark()
    assert mark_of(tmp_path / "b.nrrd") == Mark("m" * 120, "v0001")


def test_a_cleaner_image_keeps_the_grid(client: TestClient, study: Volume, tmp_path: Path) -> None:
    manifest, files = parts(client, tmp_path, CLEANER)
    assert same_grid(read_volume(files["image"]), study) and manifest["contradiction"] is None


def test_bad_requests_say_what_to_do(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    query = {"image": "head", "output": "image"}
    assert error(infer(client, FINER, query, scale="3x")) == (400, "bad_option")
    assert error(infer(client, FINER, query, strength=1.5)) == (400, "bad_option")
    assert error(infer(client, FINER)) == (400, "bad_request")
    batch = client.post(f"/batch/infer/{FINER}", params={"images": "all"}, json={"label_tag": "finer"})
    assert error(batch) == (400, "bad_request") and "a batch stores labels" in batch.text
    monkeypatch.setattr(reconstruction, "MOST_VOXELS", 1000 * 8)
    answer = infer(client, FINER, query)
    assert error(answer) == (413, "too_large") and "million voxels" in answer.text


def test_another_modality_is_marked_at_any_strength(tmp_path: Path) -> None:
    network = {"name": "Translator", "inputs": 3, "channels": [4, 8]}
    settings = {"measurement": "translation", "source": "MR", "made": "CT", "sequences": ["CT", "MR_T1"]}
    inputs = [{"name": "image", "modality": "MR"}]
    spec = ModelSpec("mr_to_ct", "reconstruction", "MR to CT", "Like a CT.", network, settings, inputs=inputs)
    version = tmp_path / "models" / spec.name / "v0001"
    version.mkdir(parents=True)
    spec.save(version)
    save_weights(build(network), version / WEIGHTS_FILE)
    (tmp_path / "studies").mkdir()
    random = np.random.default_rng(0)
    study = Volume(random.integers(0, 900, (20, 24, 5)).astype(np.int16), np.diag([1.0, 1.0, 4.0, 1.0]))
    write_volume(tmp_path / "studies" / "head.nii.gz", study)
    client = client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=tmp_path / "models"))
    manifest, files = parts(client, tmp_path, spec.name)
    assert manifest["gan_altered"] is True and manifest["consistency"] == "This model adds what was not measured."
    assert manifest["parts"][0]["units"] == "HU" and manifest["parts"][0]["altered"] is True
    assert same_grid(read_volume(files["image"]), study) and mark_of(files["image"]) == Mark("mr_to_ct", "v0001")
    assert any("No CT was acquired" in warning for warning in manifest["warnings"])

"""Undersampled MR over HTTP: a simulated faster scan of an image, and k-space that was measured."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fastapi.testclient import TestClient
from scipy import ndimage
from server_world import CLEANER, FASTER, client_of, error, infer, make_reconstruction

from monailabel_app.config import ServerConfig
from monailabel_app.infers import reconstruction
from trainers.data.volumes import Volume, read_volume, same_grid, write_volume
from trainers.tasks.reconstruction.kspace import simulate

QUERY = {"image": "head", "output": "image"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reconstruction(tmp_path_factory.mktemp("models"))


@pytest.fixture
def head() -> Volume:
    """Sagittal slices, 3 mm thick, of something smooth."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(6, 20, 24)), 1.5)
    affine = np.array([[3.0, 0, 0, 4], [0, -0.9, 0.1, 5], [0, 0.1, 0.9, 6], [0, 0, 0, 1.0]])
    return Volume((9000 * (smooth - smooth.min())).astype(np.int16), affine)


@pytest.fixture
def client(models: Path, head: Volume, tmp_path: Path) -> TestClient:
    (tmp_path / "studies").mkdir()
    write_volume(tmp_path / "studies" / "head.nii.gz", head)
    return client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))


def result(answer: Any, folder: Path) -> tuple[dict[str, Any], Volume]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8")), read_volume(folder / "image.nrrd")


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_info(client: TestClient) -> None:
    about = client.get("/info/").json()["models"][FASTER]["medgan"]
    assert about["inputs"] == [{"name": "image", "modality": "MR", "kspace": True}]
    options = about["options"]["properties"]
    assert (options["acceleration"]["minimum"], options["acceleration"]["maximum"]) == (2, 8)
    assert options["mask"]["enum"] == ["random", "equispaced"] and options["mask"]["default"] == "random"


@pytest.mark.parametrize("mask", ["random", "equispaced"])
def test_a_faster_scan_is_simulated_and_said_to_be(client: TestClient, head: Volume, tmp_path: Path, mask: str) -> None:
    manifest, image = result(infer(client, FASTER, QUERY, result_extension=".zip", acceleration=3, mask=mask), tmp_path)
    assert same_grid(image, head) and image.array.dtype == np.float32
    assert "simulated" in manifest["warnings"][0] and "3 times" in manifest["warnings"][0]
    assert manifest["contradiction"] < 1e-5 and "lines of k-space that were measured" in manifest["consistency"]
    assert alike(image.array, head.array) > 0.3, "voxels are where they were"
    assert error(infer(client, FASTER, QUERY, acceleration=9)) == (400, "bad_option")
    assert error(infer(client, FASTER, QUERY, mask="spiral")) == (400, "bad_option")


def test_lines_of_thick_slices_lie_in_the_slices(client: TestClient, head: Volume, tmp_path: Path) -> None:
    """A slice that is far brighter than the others does not spread into them."""
    array = np.ones_like(head.array)
    array[2] = head.array[2]
    write_volume(tmp_path / "studies" / "one.nii.gz", head.like(array))
    query = {**QUERY, "image": "one"}
    _, image = result(infer(client, FASTER, query, result_extension=".zip", acceleration=8), tmp_path)
    others = np.delete(image.array, 2, axis=0)
    assert np.abs(others).max() < 0.05 * image.array[2].max()


@pytest.mark.parametrize("kind", ["npy", "fastmri"])
def test_measured_k_space(client: TestClient, head: Volume, tmp_path: Path, kind: str) -> None:
    measured = simulate(Volume(head.array.transpose(1, 2, 0), np.eye(4)), 2.0)
    path = tmp_path / f"x.{'npy' if kind == 'npy' else 'h5'}"
    if kind == "npy":
        np.save(path, measured.samples)
    else:
        with h5py.File(path, "w") as file:
            file["kspace"], file["mask"] = measured.samples, measured.lines
    files = {"file": (path.name, path.read_bytes())}
    manifest, image = result(infer(client, FASTER, {"output": "image"}, files, result_extension=".zip"), tmp_path)
    assert image.shape == (20, 24, 6) and manifest["contradiction"] < 1e-5
    assert not any("simulated" in warning for warning in manifest["warnings"])
    assert any("does not tell its voxel size" in warning for warning in manifest["warnings"])


def test_k_space_only_where_it_is_taken(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones((4, 16, 16), np.complex64))
    files = {"file": ("x.npy", stream.getvalue())}
    assert error(infer(client, CLEANER, files=files)) == (415, "not_an_image")
    assert error(infer(client, FASTER, files={"file": ("x.npy", b"broken")})) == (415, "not_an_image")
    assert error(infer(client, FASTER, files={"file": ("x.h5", b"broken")})) == (415, "not_an_image")
    monkeypatch.setattr(reconstruction, "MOST_VOXELS", 1000)
    assert error(infer(client, FASTER, files=files)) == (413, "too_large")
    assert error(infer(client, FASTER, QUERY)) == (413, "too_large")


def test_hdf5_of_another_kind(client: TestClient, tmp_path: Path) -> None:
    for name, value in (("dataset", np.ones(5)), ("other", np.ones(5)), ("kspace", np.ones((4, 16, 16)))):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file[name] = value
        sent = {"file": ("x.h5", (tmp_path / "x.h5").read_bytes())}
        assert error(infer(client, FASTER, {"output": "image"}, sent)) == (415, "not_an_image"), name


@pytest.mark.parametrize("trick", ["external link", "soft link", "external storage", "virtual", "bomb"])
def test_hdf5_cannot_reach_other_files(client: TestClient, tmp_path: Path, trick: str) -> None:
    secret, path = tmp_path / "secret.h5", tmp_path / "x.h5"
    with h5py.File(secret, "w") as file:
        file["kspace"] = np.ones((2, 16, 16), np.complex64)
    with h5py.File(path, "w") as file:
        if trick == "external link":
            file["kspace"] = h5py.ExternalLink(str(secret), "/kspace")
        elif trick == "soft link":
            file["far"], file["kspace"] = h5py.ExternalLink(str(secret), "/kspace"), h5py.SoftLink("/far")
        elif trick == "external storage":
            external = [(str(secret), 0, 2 * 16 * 16 * 8)]
            file.create_dataset("kspace", (2, 16, 16), np.complex64, external=external)
        elif trick == "virtual":
            layout = h5py.VirtualLayout((2, 16, 16), np.complex64)
            layout[:] = h5py.VirtualSource(str(secret), "kspace", (2, 16, 16))
            file.create_virtual_dataset("kspace", layout)
        else:
            file["kspace"] = np.ones((2, 16, 16), np.complex64)
            file.create_dataset("mask", (1 << 40,), np.uint8, chunks=(1 << 20,), compression="gzip")
    answer = infer(client, FASTER, {"output": "image"}, {"file": ("x.h5", path.read_bytes())})
    assert error(answer) == ((413, "too_large") if trick == "bomb" else (415, "not_an_image"))

"""Models of several images over HTTP: how further ones are sent, what is refused, what lies beside the result."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import FINER, client_of, error, infer, make_reconstruction

from monailabel_app.config import ServerConfig
from monailabel_app.synthetic import mark_of
from trainers.data.volumes import Volume, VolumeError, read_metadata, read_volume, same_grid, write_volume
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.reconstruction import models as library
from trainers.tasks.reconstruction.infer import Reconstructed

FUSED = "fused"
SPEC = ModelSpec(
    name=FUSED, task="reconstruction", title="Fused", description="The mean of both.", network={"name": "none"},
    preprocess={"measurement": "fusion"},
    inputs=[{"name": "image", "modality": "CT, MR or PET"}, {"name": "second", "modality": "CT, MR or PET"}],
)  # fmt: skip
AFFINE = np.diag([1.5, 1.5, 3.0, 1.0])


class Fusion:
    """The library's side of a model of two images."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.spec = ModelSpec.load(folder)

    def reconstruct(
        self, images: Mapping[str, Volume], strength: float = 0.0, monitor: Monitor = Monitor(), **options: Any
    ) -> Reconstructed:
        first, second = images["image"], images["second"]
        if not same_grid(first, second):
            raise VolumeError("cannot_process", "The images do not overlap.", "Register them first.")
        mean = first.like(((first.array + second.array) / 2).astype(np.float32))
        names = [str(options[key]).lower() for key in ("modality", "second_modality")]
        beside = dict(zip(names, (first, second), strict=True))
        return Reconstructed(mean, mean.like(0 * mean.array), None, [], beside)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_reconstruction(tmp_path_factory.mktemp("models"))
    version = folder / FUSED / "v0001"
    version.mkdir(parents=True)
    SPEC.save(version)
    (version / "model.safetensors").write_bytes(b"none")
    return folder


@pytest.fixture
def volumes() -> dict[str, Volume]:
    random = np.random.default_rng(0)
    return {name: Volume(random.normal(size=(9, 8, 7)).astype(np.float32), AFFINE) for name in ("ct", "pet")}


@pytest.fixture
def client(models: Path, volumes: dict[str, Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setitem(library.MODELS, "fusion", Fusion)
    for name, volume in volumes.items():
        (tmp_path / "studies").mkdir(exist_ok=True)
        write_volume(tmp_path / "studies" / f"{name}.nrrd", volume)
    return client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))


def part(folder: Path, volume: Volume, name: str = "x.nii.gz") -> tuple[str, bytes]:
    """A file as it is sent."""
    write_volume(folder / name, volume)
    return name, (folder / name).read_bytes()


def left_behind(folder: Path) -> list[Path]:
    """What is left of files on their way."""
    return [path for path in (folder / "data" / "tmp").rglob("*") if path.is_file()]


def test_info_names_inputs_and_modalities(client: TestClient) -> None:
    found = client.get("/info/").json()["models"]
    assert found[FUSED]["medgan"]["inputs"] == SPEC.inputs
    assert found[FINER]["medgan"]["inputs"] == [{"name": "image", "modality": "MR"}]
    options = found[FUSED]["medgan"]["options"]["properties"]
    assert [(o, options[o]["default"]) for o in options] == [("modality", "CT"), ("second_modality", "PET")]
    assert options["modality"]["enum"] == ["CT", "MR", "PET"]


@pytest.mark.parametrize("first", ["study", "file", "session"])
@pytest.mark.parametrize("second", ["study", "file"])
def test_both_images_by_any_way(
    client: TestClient, volumes: dict[str, Volume], tmp_path: Path, first: str, second: str
) -> None:
    query, files, params = {"output": "image"}, {}, {}
    sent = {name: part(tmp_path, volume, f"{name}.nii.gz") for name, volume in volumes.items()}
    if first == "study":
        query["image"] = "ct"
    elif first == "file":
        files["file"] = sent["ct"]
    else:
        query["session_id"] = client.put("/session/", files={"files": sent["ct"]}).json()["session_id"]
    if second == "study":
        params["second"] = "pet"
    else:
        files["second"] = sent["pet"]
    answer = infer(client, FUSED, query, files, result_extension=".nrrd", **params)
    assert answer.status_code == 200, answer.text
    (tmp_path / "r.nrrd").write_bytes(answer.content)
    found = read_volume(tmp_path / "r.nrrd")
    assert found.array == pytest.approx((volumes["ct"].array + volumes["pet"].array) / 2, abs=1e-5)
    assert not left_behind(tmp_path), "what was sent and made is gone"


def test_a_bundle_has_what_belongs_beside_in_its_own_units(
    client: TestClient, volumes: dict[str, Volume], tmp_path: Path
) -> None:
    query = {"image": "ct", "output": "image"}
    answer = infer(client, FUSED, query, result_extension=".zip", second="pet")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
        manifest = json.loads(archive.read("manifest.json"))
    told = {entry["name"]: entry for entry in manifest["parts"]}
    assert list(told) == ["image", "uncertainty", "ct", "pet"]
    assert [told[name]["units"] for name in ("image", "ct", "pet")] == ["arbitrary", "HU", "SUV"]
    for name, volume in volumes.items():
        beside = read_volume(tmp_path / told[name]["file"])
        assert same_grid(beside, volume) and np.array_equal(beside.array, volume.array)
        assert not told[name].get("altered") and mark_of(tmp_path / told[name]["file"]) is None, "it was acquired"
    assert told["image"]["altered"] is True and manifest["gan_altered"] is True
    assert read_metadata(tmp_path / "image.nrrd")["MedGAN.Altered"] == "true"
    assert manifest["contradiction"] is None and manifest["consistency"] == "This model adds what was not measured."


def test_modalities_that_are_told_decide_on_units(client: TestClient) -> None:
    query = {"image": "ct", "output": "image"}
    answer = infer(client, FUSED, query, result_extension=".zip", second="pet", modality="MR")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        parts = json.loads(archive.read("manifest.json"))["parts"]
    assert [(p["name"], p["units"]) for p in parts[2:]] == [("mr", "as the input"), ("pet", "SUV")]
    assert error(infer(client, FUSED, query, second="pet", modality="US")) == (400, "bad_option")


def test_one_image_is_not_enough_and_the_answer_says_which_is_missing(client: TestClient) -> None:
    answer = infer(client, FUSED, {"image": "ct"}, device="cpu", result_dtype="uint8")
    assert error(answer) == (400, "bad_request")
    assert "'second' (CT, MR or PET) is missing" in answer.text and "a file as the part 'second'" in answer.text
    assert error(infer(client, FUSED, second="pet")) == (400, "bad_request")
    assert error(client.post(f"/batch/infer/{FUSED}", json={})) == (400, "bad_request")


def test_what_a_model_does_not_read_is_refused(client: TestClient, volumes: dict[str, Volume], tmp_path: Path) -> None:
    sent = part(tmp_path, volumes["pet"])
    for files, params in (({"third": sent}, {"second": "pet"}), ({"second": sent, "image": sent}, {})):
        answer = infer(client, FUSED, {"image": "ct"}, files, **params)
        assert error(answer) == (400, "bad_request") and "has no input" in answer.text
    assert error(infer(client, FINER, {"image": "ct"}, {"second": sent})) == (400, "bad_request")
    answer = infer(client, FINER, {"image": "ct"}, second="pet")
    assert error(answer) == (400, "bad_request") and "finer has no input 'second'" in answer.text


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        ("nobody", (404, "unknown_image")),
        ("../ct", (400, "bad_name")),
        ("/etc/passwd", (400, "bad_name")),
        ({"path": "ct"}, (400, "bad_request")),
        (7, (400, "bad_request")),
        ("", (400, "bad_request")),
    ],
)
def test_a_second_study_is_an_id_and_nothing_else(client: TestClient, named: Any, wanted: tuple[int, str]) -> None:
    assert error(infer(client, FUSED, {"image": "ct"}, second=named)) == wanted


def test_a_second_file_is_checked_as_the_first(client: TestClient, volumes: dict[str, Volume], tmp_path: Path) -> None:
    detached = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 9 8 7\nencoding: raw\ndata file: /etc/passwd\n\n"
    name, whole = part(tmp_path, volumes["pet"], "x.nrrd")
    for file, wanted in (
        (("x.txt", b"hello"), (415, "not_an_image")),
        (("x.nrrd", detached), (415, "not_an_image")),
        ((name, whole[:300]), (415, "not_an_image")),
        (("x.h5", b"\x89HDF"), (415, "not_an_image")),
    ):
        answer = infer(client, FUSED, {"image": "ct"}, {"second": file})
        assert error(answer) == wanted, file[0]
        assert not left_behind(tmp_path)


def test_images_that_do_not_belong_together_are_told_by_the_library(
    client: TestClient, volumes: dict[str, Volume], tmp_path: Path
) -> None:
    far = Volume(volumes["pet"].array, AFFINE + np.eye(4, k=3) * 500)
    answer = infer(client, FUSED, {"image": "ct"}, {"second": part(tmp_path, far)})
    assert error(answer) == (422, "cannot_process") and "Register them first" in answer.text

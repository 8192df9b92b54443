"""Synthesis over HTTP: images out of seeds, classes and masks; every one marked; bad requests told what to do."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import LABELS, PICTURES, SHAPES, client_of, error, infer, make_synthesis

from monailabel_app.config import ServerConfig
from monailabel_app.synthetic import LARGEST_SEED, Mark, mark_of
from trainers.data.volumes import Limits, Volume, read_metadata, read_volume, same_grid, write_volume
from trainers.spec import WEIGHTS_FILE, ModelSpec

CLASSES = ["healthy", "pneumonia"]


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small models: pictures of two classes, and volumes with their labels. Not to be changed."""
    return make_synthesis(tmp_path_factory.mktemp("generators"))


@pytest.fixture
def config(generators: Path, tmp_path: Path) -> ServerConfig:
    (tmp_path / "studies").mkdir()
    return ServerConfig(tmp_path / "studies", tmp_path / "data", models=generators)


@pytest.fixture
def client(config: ServerConfig) -> TestClient:
    return client_of(config)


def described(client: TestClient, model: str, **params: Any) -> dict[str, Any]:
    answer = infer(client, model, {"output": "json"}, **params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class Bundle:
    """A result of several files."""

    def __init__(self, folder: Path, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(folder)
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.parts = {part["name"]: part for part in self.manifest["parts"]}
        self.files = {name: folder / part["file"] for name, part in self.parts.items()}
        self.volumes = {name: read_any(path) for name, path in self.files.items()}


def read_any(path: Path) -> Volume:
    return read_volume(path, Limits(pictures=True))


def bundle(client: TestClient, folder: Path, model: str, files: Any = None, **params: Any) -> Bundle:
    answer = infer(client, model, {"output": "image"}, files, result_extension=".zip", **params)
    assert answer.status_code == 200, answer.text
    return Bundle(folder, answer.content)


def blocks(spacing: float = 0.5) -> Volume:
    """A label map of a block in a block: finer than the model's grid, flipped, and somewhere else."""
    array = np.zeros((60, 80, 60), np.uint8)
    array[5:33, 26:62, 7:35] = 1
    array[11:27, 34:54, 13:29] = 2
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    affine[:3, 3] = 40, -30, 20
    return Volume(array, affine)


def mask(folder: Path, suffix: str = ".nii.gz", array: Any = None, spacing: float = 0.5) -> tuple[str, bytes]:
    """Name and content of a file with those blocks or another array."""
    volume = blocks(spacing)
    path = folder / f"mask{suffix}"
    write_volume(path, volume if array is None else Volume(array, volume.affine))
    return path.name, path.read_bytes()


def middle(volume: Volume) -> Any:
    """Middle of what is labelled, RAS mm."""
    return (volume.affine @ [*np.argwhere(volume.array).mean(0), 1.0])[:3]


# What clients are told.


def test_info(client: TestClient) -> None:
    models = client.get("/info/").json()["models"]
    pictures, shapes = models[PICTURES], models[SHAPES]
    assert (pictures["type"], pictures["dimension"], shapes["dimension"]) == ("others", 2, 3)
    assert (pictures["medgan"]["task"], pictures["medgan"]["inputs"]) == ("synthesis", [])
    assert (pictures["medgan"]["output"], shapes["medgan"]["output"]) == ("volume", "both")
    assert not pictures["medgan"]["trainable"] and client.get("/info/").json()["trainers"] == {}
    options = pictures["medgan"]["options"]["properties"]
    assert list(options) == ["number", "seed", "class"]
    assert [options["number"][key] for key in ("minimum", "maximum", "default")] == [1, 16, 4]
    assert [options["seed"][key] for key in ("minimum", "maximum", "default")] == [0, LARGEST_SEED, 0]
    assert options["class"]["enum"] == CLASSES and "default" not in options["class"]
    told = shapes["medgan"]["options"]["properties"]
    assert list(told) == ["number", "seed", "mask"]
    assert (told["mask"]["type"], told["mask"]["x-widget"]) == ("boolean", "labelmap")
    assert shapes["labels"] == LABELS


@pytest.mark.parametrize(
    ("model", "changes", "options", "output"),
    [
        (PICTURES, {"network": {"categories": []}, "labels": LABELS}, ["number", "seed"], "volume"),
        (PICTURES, {"network": {"maps": 3}, "labels": LABELS}, ["number", "seed", "class"], "both"),
        (PICTURES, {"modalities": ["CT", "MR"]}, ["number", "seed", "class", "modality"], "volume"),
        (PICTURES, {"modalities": ["CT"]}, ["number", "seed", "class"], "volume"),
        (SHAPES, {"network": {"maps": 0}}, ["number", "seed"], "volume"),
    ],
)
def test_options_are_what_the_network_can_be_told(
    generators: Path, config: ServerConfig, tmp_path: Path, model: str, changes: dict[str, Any], options: list[str],
    output: str,
) -> None:  # fmt: skip
    shutil.copytree(generators / model, tmp_path / "models" / model)
    version = tmp_path / "models" / model / "v0001"
    spec = ModelSpec.load(version)
    spec.replace(**{**changes, "network": spec.network | changes.get("network", {})}).save(version)
    client = client_of(dataclasses.replace(config, models=tmp_path / "models"))
    told = client.get("/info/").json()["models"][model]["medgan"]
    assert (list(told["options"]["properties"]), told["output"]) == (options, output)


# What comes back.


def test_a_bundle_says_of_every_image_and_label_what_it_is(client: TestClient, tmp_path: Path) -> None:
    made = bundle(client, tmp_path, SHAPES, number=3, seed=5)
    assert list(made.parts) == [f"{kind}_00{n}" for n in (1, 2, 3) for kind in ("image", "label")]
    samples = made.manifest["samples"]
    assert made.manifest["synthetic"] is True and len({s["seed"] for s in samples}) == 3
    for number, sample in enumerate(samples, 1):
        image, label = (f"{kind}_00{number}" for kind in ("image", "label"))
        assert (made.parts[image]["kind"], made.parts[label]["kind"]) == ("volume", "labelmap")
        assert made.parts[image]["units"] and made.parts[label]["labels"] == LABELS
        assert same_grid(made.volumes[image], made.volumes[label])
        assert made.volumes[label].array.dtype == np.uint8 and made.volumes[label].array.max() <= 2
        for name in (image, label):
            part = made.parts[name]
            about = [part[key] for key in ("synthetic", "sample", "seed", "class")]
            assert about == [True, number, sample["seed"], None]
            assert mark_of(made.files[name]) == Mark(SHAPES, "v0001", sample["seed"])
            assert read_metadata(made.files[name])["MedGAN.Synthetic"] == "true"
    arrays = [made.volumes[f"image_00{n}"].array for n in (1, 2, 3)]
    assert not np.array_equal(arrays[0], arrays[1]) and not np.array_equal(arrays[1], arrays[2])
    assert {array.dtype.kind for array in arrays} <= {"i", "u"}


def test_pictures_are_of_the_class_that_was_asked_for(client: TestClient, tmp_path: Path) -> None:
    made = bundle(client, tmp_path, PICTURES, number=2, **{"class": "pneumonia"})
    assert list(made.parts) == ["image_001", "image_002"]
    assert made.volumes["image_001"].shape[2] == 1
    assert [s["class"] for s in made.manifest["samples"]] == ["pneumonia"] * 2
    assert read_metadata(made.files["image_001"])["MedGAN.Class"] == "pneumonia"
    other = bundle(client, tmp_path / "other", PICTURES, number=2, **{"class": "healthy"})
    assert not np.array_equal(made.volumes["image_001"].array, other.volumes["image_001"].array)


def test_a_class_left_open_is_drawn_and_told(client: TestClient, tmp_path: Path) -> None:
    made = bundle(client, tmp_path, PICTURES, number=16)
    drawn = {s["class"] for s in made.manifest["samples"]}
    assert drawn == set(CLASSES), "16 draws"


@pytest.mark.parametrize("model", [PICTURES, SHAPES])
def test_the_same_seed_makes_the_same_voxels_and_each_sample_can_be_made_alone(
    client: TestClient, tmp_path: Path, model: str
) -> None:
    first = bundle(client, tmp_path / "1", model, number=3, seed=11)
    again = bundle(client, tmp_path / "2", model, number=3, seed=11)
    other = bundle(client, tmp_path / "3", model, number=3, seed=12345)
    for name, volume in first.volumes.items():
        assert volume.array.tobytes() == again.volumes[name].array.tobytes()
        assert first.files[name].read_bytes() == again.files[name].read_bytes(), "clients know a sample by its bytes"
    assert first.volumes["image_001"].array.tobytes() != other.volumes["image_001"].array.tobytes()
    last = first.manifest["samples"][2]
    told = {"class": last["class"]} if last["class"] else {}
    alone = bundle(client, tmp_path / "4", model, number=1, seed=last["seed"], **told)
    assert alone.volumes["image_001"].array.tobytes() == first.volumes["image_003"].array.tobytes()
    assert alone.manifest["samples"] == [last]


@pytest.mark.parametrize("model", [PICTURES, SHAPES])
def test_the_largest_seed_gives_seeds_that_can_be_asked_for(client: TestClient, tmp_path: Path, model: str) -> None:
    made = bundle(client, tmp_path, model, number=3, seed=LARGEST_SEED)
    assert all(0 <= sample["seed"] <= LARGEST_SEED for sample in made.manifest["samples"])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("query", [{}, {"image": "none"}, {"image": "None"}, {"image": ""}])
def test_a_single_file_is_the_first_image_and_marked(
    client: TestClient, tmp_path: Path, suffix: str, query: dict[str, str]
) -> None:
    answer = infer(client, PICTURES, {**query, "output": "image"}, seed=3, result_extension=suffix)
    assert answer.status_code == 200, answer.text
    path = tmp_path / f"x{suffix}"
    path.write_bytes(answer.content)
    first = bundle(client, tmp_path / "all", PICTURES, number=4, seed=3)
    assert np.array_equal(read_any(path).array, first.volumes["image_001"].array)
    assert mark_of(path) == Mark(PICTURES, "v0001", *first.manifest["samples"][0].values())


def test_nifti_says_so_in_its_description(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(infer(client, SHAPES, {"output": "image"}, seed=3).content)
    text = nib.load(tmp_path / "x.nii.gz").header["descrip"].tobytes().decode().rstrip("\0")
    assert text == f"MedGAN synthetic: {SHAPES} v0001 seed 3"


def test_a_single_file_that_holds_fewer_than_were_asked_for_warns(client: TestClient) -> None:
    about = described(client, PICTURES, number=4, seed=3)
    assert about["synthetic"] is True and len(about["samples"]) == 1
    assert len(about["warnings"]) == 1 and ".zip" in about["warnings"][0]
    assert described(client, PICTURES, seed=3)["warnings"] == []
    assert {"read", "infer", "write", "total"} == set(about["latencies"])


# Masks.


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_mask_is_filled_on_the_models_grid(client: TestClient, tmp_path: Path, suffix: str) -> None:
    sent = mask(tmp_path, suffix)
    made = bundle(client, tmp_path / "a", SHAPES, {"label": sent}, number=2, seed=1, mask=True)
    assert made.manifest["warnings"] == []
    for number in (1, 2):
        label, image = made.volumes[f"label_00{number}"], made.volumes[f"image_00{number}"]
        assert label.shape == (20, 24, 20) and np.allclose(label.spacing, 1) and same_grid(label, image)
        sizes = [float((label.array == value).sum()) for value in (1, 2)]
        assert sizes == pytest.approx([14 * 18 * 14 - 640, 640], rel=0.2)
        assert middle(label) == pytest.approx(middle(blocks()), abs=0.6), "it stays where it was drawn"
    assert not np.array_equal(made.volumes["image_001"].array, made.volumes["image_002"].array)
    free = bundle(client, tmp_path / "b", SHAPES, number=2, seed=1)
    assert not np.array_equal(made.volumes["label_001"].array, free.volumes["label_001"].array)


def test_a_mask_needs_no_option(client: TestClient, tmp_path: Path) -> None:
    told = bundle(client, tmp_path / "a", SHAPES, {"label": mask(tmp_path)}, number=1, mask=True)
    untold = bundle(client, tmp_path / "b", SHAPES, {"label": mask(tmp_path)}, number=1)
    assert np.array_equal(told.volumes["label_001"].array, untold.volumes["label_001"].array)


def test_a_mask_that_is_too_large_for_the_images_is_told(client: TestClient, tmp_path: Path) -> None:
    made = bundle(client, tmp_path, SHAPES, {"label": mask(tmp_path, spacing=1.0)}, number=1)
    assert len(made.manifest["warnings"]) == 1
    assert made.manifest["warnings"][0].startswith("Only 34% of the segmentation")
    assert "20 x 24 x 20 mm" in made.manifest["warnings"][0]


@pytest.mark.parametrize("spacing", [0.0005, 1000.0])
def test_a_mask_in_other_units_than_millimetres_is_refused_at_once(
    client: TestClient, tmp_path: Path, spacing: float
) -> None:
    sent, start = mask(tmp_path, spacing=spacing), time.process_time()
    answer = infer(client, SHAPES, files={"label": sent})
    assert error(answer) == (422, "cannot_process")
    assert "millimetres" in answer.json()["error"]["hint"] and time.process_time() - start < 2


def four_dimensions(folder: Path) -> tuple[str, bytes]:
    nib.Nifti1Image(np.ones((8, 8, 8, 2), np.uint8), np.eye(4)).to_filename(folder / "m.nii.gz")
    return "m.nii.gz", (folder / "m.nii.gz").read_bytes()


def huge(folder: Path) -> tuple[str, bytes]:
    header = nib.Nifti1Header()
    header.set_data_shape((2048, 2048, 1024))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return "m.nii", header.binaryblock + b"\0" * 4


BAD_MASKS: dict[str, tuple[Callable[[Path], tuple[str, bytes]], tuple[int, str]]] = {
    "garbage": (lambda _: ("m.nii.gz", b"this is not an image"), (415, "not_an_image")),
    "nothing": (lambda _: ("m.nrrd", b""), (415, "not_an_image")),
    "suffix": (lambda _: ("m.exe", b"x"), (415, "not_an_image")),
    "truncated": (lambda folder: ("m.nii.gz", mask(folder)[1][:200]), (415, "not_an_image")),
    "elsewhere": (
        lambda _: ("m.nrrd", b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\ndata file: /etc/passwd\n\n"),
        (415, "not_an_image"),
    ),
    "4D": (four_dimensions, (422, "cannot_process")),
    "huge": (huge, (413, "too_large")),
    "empty": (lambda folder: mask(folder, array=np.zeros((9, 9, 9), np.uint8)), (422, "wrong_labels")),
    "unknown value": (lambda folder: mask(folder, array=np.full((9, 9, 9), 3, np.uint8)), (422, "wrong_labels")),
    "halves": (lambda folder: mask(folder, array=np.full((9, 9, 9), 0.5, np.float32)), (422, "wrong_labels")),
    "not a number": (lambda folder: mask(folder, array=np.full((9, 9, 9), np.nan, np.float32)), (422, "wrong_labels")),
}


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_bad_masks(client: TestClient, config: ServerConfig, tmp_path: Path, kind: str) -> None:
    make, expected = BAD_MASKS[kind]
    answer = infer(client, SHAPES, files={"label": make(tmp_path)})
    assert error(answer) == expected
    assert list(config.temporary.iterdir()) == []


# Bad requests.

BAD_OPTIONS = [
    ("number", 0),
    ("number", 17),
    ("number", 2.0),
    ("number", "2"),
    ("number", True),
    ("seed", -1),
    ("seed", 1.5),
    ("seed", LARGEST_SEED + 1),
    ("seed", 10**30),
    ("class", "lesion"),
    ("class", 1),
    ("class", ["healthy"]),
]


@pytest.mark.parametrize(("option", "value"), BAD_OPTIONS)
def test_bad_options_are_named(client: TestClient, option: str, value: object) -> None:
    answer = infer(client, PICTURES, **{option: value})
    assert error(answer) == (400, "bad_option")
    assert option in answer.json()["error"]["message"]


def test_options_of_other_models_are_told_apart(client: TestClient) -> None:
    assert error(infer(client, SHAPES, mask="yes")) == (400, "bad_option")
    assert error(infer(client, PICTURES, numbers=2)) == (400, "bad_option")
    assert described(client, SHAPES, device="cuda", client_id="x", result_dtype="uint8")["model"] == SHAPES


@pytest.mark.parametrize("how", ["id", "unknown id", "file", "session"])
def test_an_image_is_refused(client: TestClient, config: ServerConfig, tmp_path: Path, how: str) -> None:
    write_volume(config.studies / "study.nii.gz", Volume(np.ones((4, 4, 4), np.uint8), np.eye(4)))
    body = ("x.nii.gz", (config.studies / "study.nii.gz").read_bytes())
    query = {"id": {"image": "study"}, "unknown id": {"image": "nobody"}, "session": {"session_id": "x"}}.get(how, {})
    answer = infer(client, PICTURES, query, {"file": body} if how == "file" else None)
    assert error(answer) == (400, "bad_request")
    assert "takes none" in answer.json()["error"]["message"] and "image=none" in answer.json()["error"]["hint"]


def test_masks_where_there_can_be_none_or_should_be_one(client: TestClient, tmp_path: Path) -> None:
    assert error(infer(client, PICTURES, files={"label": mask(tmp_path)})) == (400, "bad_request")
    assert error(infer(client, SHAPES, mask=True)) == (400, "bad_request")
    assert described(client, SHAPES, mask=False)["model"] == SHAPES


def test_params_are_no_way_to_files_of_the_server(client: TestClient, tmp_path: Path) -> None:
    name, body = mask(tmp_path)
    (tmp_path / name).write_bytes(body)
    made = bundle(client, tmp_path / "a", SHAPES, number=1, label=str(tmp_path / name), image="/etc/passwd")
    free = bundle(client, tmp_path / "b", SHAPES, number=1)
    assert np.array_equal(made.volumes["label_001"].array, free.volumes["label_001"].array)


def test_a_batch_is_refused(client: TestClient) -> None:
    answer = client.post(f"/batch/infer/{PICTURES}", json={})
    assert error(answer) == (400, "bad_request")
    assert "PUT /datastore/image" in answer.json()["error"]["hint"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"garbage")])
@pytest.mark.parametrize(
    ("model", "other", "weights"),
    [(PICTURES, SHAPES, WEIGHTS_FILE), (SHAPES, PICTURES, WEIGHTS_FILE), (SHAPES, PICTURES, "masks.safetensors")],
)
def test_without_usable_weights_there_are_no_images(
    generators: Path, tmp_path: Path, damage: Callable[[Path], Any], model: str, other: str, weights: str
) -> None:
    shutil.copytree(generators, tmp_path / "models")
    damage(tmp_path / "models" / model / "v0001" / weights)
    (tmp_path / "studies").mkdir()
    client = client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=tmp_path / "models"))
    assert error(infer(client, model)) == (503, "model_not_available")
    assert described(client, other)["model"] == other
    assert set(client.get("/info/").json()["models"]) == {PICTURES, SHAPES}

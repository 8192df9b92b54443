"""MedMNIST files: axes, parts, classes, repeats, and files that are wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainers.data.files import ids
from trainers.data.cases import CasesError
from trainers.data.readers import open_data
from trainers.data.volumes import VolumeError


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 4, 6), dtype=np.uint8)
    return save(
        tmp_path / "pneumoniamnist_64.npz",
        train_images=images[:3], train_labels=[[0], [1], [1]], test_images=images[[4, 0]], test_labels=[[0], [0]],
    )  # fmt: skip


def test_rows_go_down_and_columns_right(grey: Path) -> None:
    data = open_data(grey)
    stored = np.load(grey)["train_images"][1]
    image = data.entries[1].read().image
    assert image.shape == (1, 6, 4) and image.dtype == np.float32
    assert image[0, 5, 2] == stored[2, 5]
    assert (stored == image[0].T).all()


def test_parts_classes_and_units(grey: Path) -> None:
    data = open_data(grey)
    assert ids(data) == ["train_00000", "train_00001", "train_00002", "test_00000", "test_00001"]
    assert data.parts == {"train": ids(data)[:3], "test": ids(data)[3:]}
    assert data.classes == ("normal", "pneumonia")
    assert [entry.target for entry in data.entries] == [0, 1, 1, 0, 0]
    assert (data.dimensions, data.units, data.channels) == (2, "0-255", ("image",))


def test_an_exact_repeat_is_the_same_patient(grey: Path) -> None:
    """The second test image repeats the first training image."""
    patients = [entry.patient for entry in open_data(grey).entries]
    assert patients[4] == patients[0]
    assert len(set(patients)) == 4


def test_a_folder_with_one_file(grey: Path) -> None:
    assert open_data(grey.parent).name == "pneumoniamnist_64"
    save(grey.parent / "other.npz", train_images=np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(CasesError, match=r"exactly one \.npz; found: other\.npz, pneumoniamnist_64\.npz"):
        open_data(grey.parent)


def test_entries_share_arrays_and_pickle_small(grey: Path) -> None:
    data = open_data(grey)
    assert data.entries[0].read.args[0] is data.entries[4].read.args[0]  # type: ignore[attr-defined]
    pickled = pickle.dumps(data.entries[1])
    assert np.load(grey)["train_images"].tobytes() not in pickled and len(pickled) < 2000
    assert (pickle.loads(pickled).read().image == data.entries[1].read().image).all()


def test_colour_and_volumes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    data = open_data(save(tmp_path / "pathmnist.npz", val_images=rgb, val_labels=[[7], [0]]))
    assert data.channels == ("red", "green", "blue") and data.dimensions == 2
    assert data.entries[0].read().image[2, 5, 3] == rgb[0, 3, 5, 2]
    assert data.classes == ("0", "1", "2", "3", "4", "5", "6", "7")
    deep = random.integers(0, 256, (2, 4, 5, 6), dtype=np.uint8)
    data = open_data(save(tmp_path / "nodulemnist3d.npz", train_images=deep, train_labels=[[1], [0]]))
    assert data.dimensions == 3 and data.classes == ("benign", "malignant")
    image = data.entries[1].read().image
    assert image.shape == (1, 6, 5, 4) and image[0, 5, 4, 1] == deep[1, 1, 4, 5]


def test_many_findings_are_details_and_no_class(tmp_path: Path) -> None:
    labels = np.eye(3, dtype=np.uint8)[[2, 0]]
    file = save(tmp_path / "chestmnist.npz", train_images=np.zeros((2, 4, 4), np.uint8), train_labels=labels)
    first = open_data(file).entries[0]
    assert first.target is None and first.details["labels"] == [0, 0, 1]
    assert open_data(file).classes == ()


def test_without_labels(tmp_path: Path) -> None:
    data = open_data(save(tmp_path / "x.npz", train_images=np.zeros((2, 4, 4), np.uint8)))
    assert data.classes == () and data.entries[0].target is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "is not a MedMNIST file: it holds x"),
        ({"train_images": np.zeros((2, 4))}, r"train_images is \(2, 4\) of float64"),
        (
            {"train_images": np.zeros((2, 4, 4)), "train_labels": [[0]]},
            r"train_labels is \(1, 1\) of int64 for 2 images",
        ),
        ({"train_images": np.zeros((1, 4, 4)), "train_labels": [[-1]]}, "negative class, -1"),
        ({"train_images": np.zeros((1, 4, 4)), "test_images": np.zeros((1, 5, 5))}, "differ in shape"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(CasesError, match=message):
        open_data(save(tmp_path / "x.npz", **arrays), "medmnist")


@pytest.mark.parametrize("damage", ["cut", "text", "objects"])
def test_damaged_files(grey: Path, damage: str) -> None:
    if damage == "cut":
        grey.write_bytes(grey.read_bytes()[:300])
    elif damage == "text":
        grey.write_text("404: Not Found")
    else:
        save(grey, train_images=np.array([{"a": 1}], object))
    with pytest.raises(VolumeError, match=r"pneumoniamnist_64\.npz is not a readable \.npz file\. Download it again"):
        open_data(grey, "medmnist")


@pytest.mark.realdata
def test_pneumoniamnist(real_data: Path) -> None:
    data = open_data(real_data / "pneumoniamnist")
    assert {part: len(names) for part, names in data.parts.items()} == {"train": 4708, "val": 524}
    assert data.classes == ("normal", "pneumonia")
    assert len(data.entries) - len({entry.patient for entry in data.entries}) == 26
    pneumonia = np.mean([entry.target or 0 for entry in data.entries])
    assert 0.7 < pneumonia < 0.8

"""REFUGE in its layouts: masks, glaucoma, parts."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.trainers.data.files import picture
from trainers.data.cases import CasesError
from trainers.data.readers import open_data, recognise
from trainers.data.sets import DataSet
from trainers.data.volumes import VolumeError

PHOTO = np.zeros((6, 8, 3), np.uint8)
PHOTO[..., 0] = 200
MASK = np.full((6, 8), 255, np.uint8)
MASK[1:5, 2:7] = 128
MASK[2:4, 3:5] = 0


def by_id(data: DataSet) -> dict[str, int | None]:
    return {entry.id: entry.target for entry in data.entries}


@pytest.fixture
def refuge(tmp_path: Path) -> Path:
    """As the organisers' archives unpack."""
    for kind, name in (("Glaucoma", "g0001"), ("Non-Glaucoma", "n0001")):
        picture(tmp_path / f"Training400/{kind}/{name}.jpg", PHOTO)
        picture(tmp_path / f"Annotation-Training400/Annotation-Training400/Disc_Cup_Masks/{kind}/{name}.bmp", MASK)
    picture(tmp_path / "REFUGE-Validation400/V0001.jpg", PHOTO)
    picture(tmp_path / "REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp", MASK)
    picture(tmp_path / "Test400/T0001.jpg", PHOTO)
    picture(tmp_path / "REFUGE-Test-GT/Disc_Cup_Masks/G/T0001.bmp", MASK)
    return tmp_path


def test_the_organisers_layout(refuge: Path) -> None:
    assert recognise(refuge) == "refuge"
    data = open_data(refuge)
    assert by_id(data) == {
        "REFUGE-Validation400/V0001": None, "Test400/T0001": 1,
        "Training400/Glaucoma/g0001": 1, "Training400/Non-Glaucoma/n0001": 0,
    }  # fmt: skip
    assert data.classes == ("non-glaucoma", "glaucoma")
    assert (data.units, data.dimensions, data.channels) == ("0-255", 2, ("red", "green", "blue"))
    assert data.parts == {
        "val": ["REFUGE-Validation400/V0001"], "test": ["Test400/T0001"],
        "train": ["Training400/Glaucoma/g0001", "Training400/Non-Glaucoma/n0001"],
    }  # fmt: skip
    assert data.notes == ("Of 1 of 4 photographs it is not told whether there is glaucoma.",)


def test_the_mask_becomes_labels_and_white_the_background(refuge: Path) -> None:
    data = open_data(refuge)
    assert data.labels == {"disc": 1, "cup": 2}
    for entry in data.entries:
        sample = pickle.loads(pickle.dumps(entry)).read()
        assert sample.image.shape == (3, 8, 6) and sample.label.shape == (8, 6)
        assert (np.bincount(sample.label.ravel()) == [48 - 20, 20 - 4, 4]).all()
        assert sample.label[3, 2] == 2 and sample.label[2, 3] == 1  # x = 3, y = 2 is in the cup
        assert sample.image[0].mean() > 190 and sample.image[1:].mean() < 10


def test_glaucoma_of_the_validation_by_table(refuge: Path) -> None:
    table = refuge / "REFUGE-Validation400-GT/Fovea_locations.csv"
    table.write_text("ID,ImgName,Fovea_X,Fovea_Y,Glaucoma Label\n1,V0001.jpg,3,4,1\n")
    assert by_id(open_data(refuge))["REFUGE-Validation400/V0001"] == 1
    table.write_text("ID,ImgName,Glaucoma Label\n1,V0001.jpg,maybe\n")
    with pytest.raises(CasesError, match=r"Fovea_locations\.csv: glaucoma of V0001\.jpg is 'maybe'\. Expected 0 or 1"):
        open_data(refuge)


def test_a_workbook_without_openpyxl_is_noted(refuge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (refuge / "REFUGE-Validation400-GT/Fovea_locations.xlsx").write_bytes(b"PK")
    assert "Fovea_locations.xlsx was not read. Save it as .csv" in open_data(refuge).notes[0]


def test_a_workbook_by_openpyxl(refuge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """openpyxl is no dependency, so a stand-in gives the lines that it would."""
    (refuge / "REFUGE-Validation400-GT/Fovea_locations.xlsx").write_bytes(b"PK")
    lines = [("ID", "ImgName", "Fovea_X", "Fovea_Y", "Glaucoma Label"), (1, "V0001.jpg", 3.5, 4.5, 1), (None,) * 5]
    book = SimpleNamespace(active=SimpleNamespace(values=iter(lines)))
    monkeypatch.setitem(sys.modules, "openpyxl", SimpleNamespace(load_workbook=lambda file, read_only: book))
    assert by_id(open_data(refuge))["REFUGE-Validation400/V0001"] == 1


def test_parts_with_images_masks_and_index(tmp_path: Path) -> None:
    root = tmp_path / "REFUGE"
    for part, name, label in (("train", "g0001", 1), ("val", "V0001", 1), ("test", "T0001", 0)):
        picture(root / part / f"Images/{name}.jpg", PHOTO)
        picture(root / part / f"gts/{name}.bmp", MASK)
        (root / part / "index.json").write_text(json.dumps({"0": {"ImgName": f"{name}.jpg", "Label": label}}))
    data = open_data(root)
    assert recognise(root) == "refuge"
    assert by_id(data) == {"test/Images/T0001": 0, "train/Images/g0001": 1, "val/Images/V0001": 1}
    assert {part: len(names) for part, names in data.parts.items()} == {"train": 1, "val": 1, "test": 1}
    assert all(entry.read().label is not None for entry in data.entries)


def test_refuge2_has_one_name_in_two_parts(tmp_path: Path) -> None:
    """REFUGE1's three parts train there, and its V0001 is not that of REFUGE2's validation."""
    root = tmp_path / "REFUGE2"
    old, new = root / "Train/REFUGE1-val", root / "Validation"
    picture(old / "REFUGE-Validation400/V0001.jpg", PHOTO)
    picture(old / "Disc_Cup_Masks/V0001.bmp", MASK)
    (old / "Fovea_locations.csv").write_text("ImgName,Glaucoma Label\nV0001.jpg,1\n")
    picture(new / "Images/V0001.jpg", PHOTO)
    picture(new / "Disc_Masks/V0001.png", np.full_like(MASK, 255))
    (new / "glaucoma.csv").write_text("FileName,Glaucoma Risk\nV0001.jpg,0\n")
    data = open_data(root)
    assert by_id(data) == {"Train/REFUGE1-val/REFUGE-Validation400/V0001": 1, "Validation/Images/V0001": 0}
    assert list(data.parts) == ["train", "val"]
    assert [int((entry.read().label > 0).sum()) for entry in data.entries] == [20, 0]  # type: ignore[operator]


@pytest.mark.parametrize("name", ["Cropped", "cropped", "Square"])
def test_derived_copies_are_left_out(tmp_path: Path, name: str) -> None:
    """A copy beside the photograph would be another patient."""
    root = tmp_path / "REFUGE"
    picture(root / "train/Images/g0001.jpg", PHOTO)
    picture(root / "train/gts/g0001.bmp", MASK)
    picture(root / f"train/Images_{name}/g0001.jpg", PHOTO[:4])
    picture(root / f"train/Masks_{name}/g0001.png", MASK[:4])
    data = open_data(root)
    assert by_id(data) == {"train/Images/g0001": 1} and data.entries[0].read().label is not None
    assert data.notes == ("2 pictures in folders named …_cropped or …_square were left out as copies.",)
    assert list(by_id(open_data(root / f"train/Images_{name}", "refuge"))) == ["g0001"], "unless they are all there is"


def test_names_tell_glaucoma_where_nothing_else_does(tmp_path: Path) -> None:
    for name in ("g0001", "n0002", "V0003"):
        picture(tmp_path / f"Training400/{name}.jpg", PHOTO)
    data = open_data(tmp_path)
    assert list(by_id(data).values()) == [None, 1, 0]
    assert data.entries[0].read().label is None
    assert data.notes[0] == "3 of 3 photographs have no mask of disc and cup."


def test_masks_that_cannot_be(refuge: Path) -> None:
    masks = refuge / "Annotation-Training400/Annotation-Training400/Disc_Cup_Masks"
    entries = {entry.id: entry for entry in open_data(refuge).entries}
    picture(masks / "Glaucoma/g0001.bmp", np.full_like(MASK, 7))
    with pytest.raises(VolumeError, match=r"g0001\.bmp has values \[7\]\. Expected 0 \(cup\), 128 \(disc\)"):
        entries["Training400/Glaucoma/g0001"].read()
    picture(masks / "Non-Glaucoma/n0001.bmp", MASK[:3])
    with pytest.raises(VolumeError, match=r"n0001\.bmp is \(8, 3\), n0001\.jpg is \(8, 6\)"):
        entries["Training400/Non-Glaucoma/n0001"].read()
    picture(masks / "Glaucoma/g0001.png", MASK)
    with pytest.raises(CasesError, match=r"g0001\.jpg has two masks"):
        open_data(refuge)


def test_damaged_and_missing_files(refuge: Path) -> None:
    entry = open_data(refuge).entries[1]
    (refuge / "Test400/T0001.jpg").write_bytes((refuge / "Test400/T0001.jpg").read_bytes()[:200])
    with pytest.raises(VolumeError, match=r"T0001\.jpg is not a readable picture"):
        entry.read()
    (refuge / "index.json").write_text("{")
    with pytest.raises(CasesError, match=r"index\.json is not readable JSON"):
        open_data(refuge)
    with pytest.raises(FileNotFoundError, match="no fundus photograph below"):
        open_data(refuge / "REFUGE-Test-GT/Disc_Cup_Masks/G", "refuge")

"""Tasks of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.trainers.data.files import ids, volume
from trainers.data.cases import CasesError
from trainers.data.readers import open_data, recognise
from trainers.data.volumes import VolumeError

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
TABLE: dict[str, Any] = {
    "name": "Prostate", "modality": {"0": "T2", "1": "ADC"}, "labels": {"0": "background", "1": "PZ", "2": "TZ"},
    "training": [{"image": f"./imagesTr/p_0{n}.nii.gz", "label": f"./labelsTr/p_0{n}.nii.gz"} for n in (1, 2)],
    "test": ["./imagesTs/p_03.nii.gz"],
}  # fmt: skip


@pytest.fixture
def task(tmp_path: Path) -> Path:
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5, 2)
    for name in ("imagesTr/p_01", "imagesTr/p_02", "imagesTs/p_03"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii.gz")  # type: ignore[attr-defined]
    for name in ("p_01", "p_02"):
        volume(tmp_path / f"labelsTr/{name}.nii.gz", np.full((3, 4, 5), 2, np.uint8))
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> None:
    (folder / "dataset.json").write_text(json.dumps({**TABLE, **changes}))


def test_a_fourth_axis_is_the_channels(task: Path) -> None:
    assert recognise(task) == "decathlon"
    data = open_data(task)
    assert (data.name, data.channels, data.labels) == ("Prostate", ("T2", "ADC"), {"PZ": 1, "TZ": 2})
    assert ids(data) == ["p_01", "p_02"] and data.units == "arbitrary"
    sample = pickle.loads(pickle.dumps(data.entries[0])).read()
    assert sample.image.shape == (2, 3, 4, 5)
    assert sample.image[1, 2, 3, 4] == 119 and sample.image[0, 0, 0, 1] == 2
    assert (sample.label == 2).all()
    np.testing.assert_allclose(sample.affine, AFFINE)


def test_images_without_labels_only_if_asked_for(task: Path) -> None:
    assert open_data(task).parts == {"train": ["p_01", "p_02"]}
    assert "1 test images have no labels" in open_data(task).notes[0]
    data = open_data(task, unlabelled=True)
    assert data.parts["test"] == ["p_03"] and data.entries[2].read().label is None and not data.notes


def test_one_channel_of_ct_is_in_hu(task: Path) -> None:
    volume(task / "imagesTr/p_01.nii.gz", np.full((3, 4, 5), -1000, np.int16))
    write(task, modality={"0": "CT"}, training=TABLE["training"][:1])
    data = open_data(task)
    assert data.units == "HU"
    assert data.entries[0].read().image.shape == (1, 3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": []}, 'no list "training"'),
        ({"training": ["a"]}, "'a' is not"),
        ({"modality": None}, 'no "modality" such as'),
        ({"labels": {"zero": "background"}}, 'no "labels" such as'),
    ],
)
def test_a_table_that_cannot_be_understood(task: Path, changes: dict[str, Any], message: str) -> None:
    write(task, **changes)
    with pytest.raises(CasesError, match=message):
        open_data(task)


def test_a_table_that_is_not_json_or_not_there(task: Path) -> None:
    (task / "dataset.json").write_text("{")
    with pytest.raises(CasesError, match=r"dataset\.json is not readable JSON"):
        open_data(task)
    (task / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no dataset\.json in .*Task04_Hippocampus"):
        open_data(task, "decathlon")


def test_missing_files_are_counted_and_named(task: Path) -> None:
    (task / "labelsTr/p_02.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 files .* the first is .*labelsTr/p_02\.nii\.gz"):
        open_data(task)


def test_images_that_do_not_fit_the_table(task: Path) -> None:
    entries = open_data(task).entries
    volume(task / "imagesTr/p_01.nii.gz", np.zeros((3, 4, 5), np.int16))
    with pytest.raises(VolumeError, match=r"p_01\.nii\.gz: It is \(3, 4, 5\); 2 channels are needed"):
        entries[0].read()
    volume(task / "labelsTr/p_02.nii.gz", np.full((3, 4, 5), 3, np.uint8))
    with pytest.raises(VolumeError, match=r"labelsTr/p_02\.nii\.gz: Label values \[3\] are not known"):
        entries[1].read()
    volume(task / "labelsTr/p_02.nii.gz", np.full((3, 4, 5), 2, np.uint8), np.eye(4))
    with pytest.raises(VolumeError, match=r"labelsTr/p_02\.nii\.gz: The label's grid"):
        entries[1].read()
    (task / "imagesTr/p_02.nii.gz").write_bytes((task / "imagesTr/p_02.nii.gz").read_bytes()[:100])
    with pytest.raises(VolumeError, match=r"p_02\.nii\.gz: It is damaged"):
        entries[1].read()

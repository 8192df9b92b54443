"""Sub-folders as classes or as patients: no patient may be in training and test alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.files import ids, picture, volume
from tests.trainers.data.test_folders import GREY, series
from trainers.data.readers import open_data
from trainers.data.readers.subjects import are_patients
from trainers.data.splits import split_data

ZEROS = np.zeros((3, 4, 5), np.uint8)


def sessions(root: Path, names: Sequence[str]) -> Path:
    """Two sessions in each folder."""
    for name in names:
        for session in ("ses1_T1w", "ses2_T1w"):
            volume(root / f"{name}/{session}.nii.gz", ZEROS)
    return root


def folders(count: int, images: int, name: str = "name{}") -> dict[str, list[Path]]:
    return {name.format(number): [Path()] * images for number in range(count)}


def test_a_folder_a_patient(tmp_path: Path) -> None:
    data = open_data(sessions(tmp_path, ("sub-00", "sub-01", "sub-02")))
    assert data.classes == () and all(entry.target is None for entry in data.entries)
    assert ids(data)[:2] == ["sub-00/ses1_T1w", "sub-00/ses2_T1w"]
    assert [entry.patient for entry in data.entries] == [f"sub-0{number}" for number in (0, 0, 1, 1, 2, 2)]
    taken = "The 3 sub-folders (sub-00, sub-01, sub-02) are taken for patients"
    assert data.notes == (f"{taken}; classes=True takes sub-folders for classes.",)


def test_no_patient_leaks_into_the_test_part(tmp_path: Path) -> None:
    data = open_data(sessions(tmp_path, [f"sub-{number:02d}" for number in range(8)]))
    split = split_data(data, validation=0.25, test=0.25)
    parts = [{entry.id.partition("/")[0] for entry in part} for part in (split.train, split.validation, split.test)]
    assert all(parts) and sum(map(len, parts)) == 8 == len(set.union(*parts))


def test_series_in_a_folder_a_patient(tmp_path: Path) -> None:
    for name in ("patient1/ct", "patient1/later", "patient2/ct"):
        series(tmp_path / name)
    data = open_data(tmp_path)
    assert data.classes == () and ids(data) == ["patient1/ct", "patient1/later", "patient2/ct"]
    assert [entry.patient for entry in data.entries] == ["patient1", "patient1", "patient2"]


def test_either_can_be_forced(tmp_path: Path) -> None:
    sessions(tmp_path / "a", ("sub-00", "sub-01"))
    data = open_data(tmp_path / "a", classes=True)
    assert data.classes == ("sub-00", "sub-01") and [entry.target for entry in data.entries] == [0, 0, 1, 1]
    assert [entry.patient for entry in data.entries] == ["sub-00"] * 2 + ["sub-01"] * 2, (
        "they are subjects all the same"
    )
    sessions(tmp_path / "b", ("anna", "bob"))
    assert open_data(tmp_path / "b").classes == ("anna", "bob")
    assert "2 sub-folders (anna, bob) are taken for classes; classes=False takes" in open_data(tmp_path / "b").notes[1]
    data = open_data(tmp_path / "b", classes=False)
    assert data.classes == () and [entry.patient for entry in data.entries] == ["anna"] * 2 + ["bob"] * 2
    assert "are taken for patients" in data.notes[0]


def test_a_pattern_goes_before_the_folder(tmp_path: Path) -> None:
    data = open_data(sessions(tmp_path, ("sub-00a", "sub-00b")), patient_pattern=r"sub-(\d+)")
    assert data.classes == () and {entry.patient for entry in data.entries} == {"00"}


def test_subjects_below_classes_and_derivatives(tmp_path: Path) -> None:
    for name in ("healthy/sub-01/a", "healthy/sub-01/b", "sick/sub-02/a", "sick/c"):
        picture(tmp_path / f"one/{name}.png", GREY)
    data = open_data(tmp_path / "one", "folders", recursive=True)
    assert data.classes == ("healthy", "sick")
    assert [entry.patient for entry in data.entries] == ["sub-01", "sub-01", "sick/c", "sub-02"]
    assert data.notes[0] == (
        "Folders named like subjects, such as sub-01, are taken for patients, each of the other 1 images for one."
    )
    for name in ("sub-01/anat/a", "sub-02/anat/a", "derivatives/sub-01/a"):
        volume(tmp_path / f"two/{name}.nii.gz", ZEROS)
    data = open_data(tmp_path / "two", "folders", recursive=True)
    assert [entry.patient for entry in data.entries] == ["sub-01", "sub-01", "sub-02"] and data.classes == ()


def test_images_and_masks_are_no_patients_either(tmp_path: Path) -> None:
    for name in ("images/a", "mask/a"):
        picture(tmp_path / f"{name}.png", GREY)
    data = open_data(tmp_path, classes=False)
    assert data.classes == () and [entry.patient for entry in data.entries] == ["images/a", "mask/a"]
    assert len(data.notes) == 1 and "each image is taken for a patient" in data.notes[0]


@pytest.mark.parametrize(
    ("found", "patients"),
    [
        (folders(2, 500, "sub-{}"), True),
        (folders(2, 40, "sub-control{}"), True),
        (folders(3, 40, "Patient_{}"), True),
        (folders(3, 40, "P0{}"), True),
        ({**folders(3, 4, "sub-{}"), "phantom": [Path()]}, True),
        (folders(2, 3, "LUNG1-00{}"), True),
        (folders(10, 10), True),
        (folders(10, 11), False),
        (folders(9, 10), False),
        (folders(200, 500, "n0144{:03d}"), False),  # ImageNet's classes
        (folders(5, 3, "{}"), False),  # grades
        (folders(4, 3, "grade{}"), False),
        (folders(4, 3, "pT{}"), False),
        ({"case": [Path()], "control": [Path()]}, False),
        ({"glioma_tumor": [Path()], "no_tumor": [Path()]}, False),
        ({}, False),
    ],
)
def test_the_rule(found: dict[str, list[Path]], patients: bool) -> None:
    assert are_patients(found) == patients

"""images/ and labels/ as a data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.files import ids, volume
from trainers.data.cases import CasesError
from trainers.data.readers import open_data
from trainers.data.volumes import VolumeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for name in ("p1_a", "p1_b", "p2_a"):
        volume(tmp_path / f"images/{name}.nii.gz", image)
        volume(tmp_path / f"labels/{name}.nii.gz", (image > 30).astype(np.uint8))
    return tmp_path


def test_images_with_labels_on_their_grid(folder: Path) -> None:
    data = open_data(folder)
    assert ids(data) == ["p1_a", "p1_b", "p2_a"] == [entry.patient for entry in data.entries]
    sample = data.entries[0].read()
    assert sample.image.shape == (1, 3, 4, 5) and sample.image[0, 2, 3, 4] == 59
    assert sample.label is not None and sample.label.sum() == 29
    np.testing.assert_allclose(sample.affine, np.diag([1.0, 2.0, 3.0, 1.0]))
    assert [file.parent.name for file in data.entries[0].files] == ["images", "labels"]


def test_images_alone(folder: Path) -> None:
    shutil.rmtree(folder / "labels")
    sample = open_data(folder).entries[2].read()
    assert sample.label is None and sample.image.max() == 59


def test_patients_by_pattern(folder: Path) -> None:
    assert [e.patient for e in open_data(folder, patient_pattern=r"^(p\d)_").entries] == ["p1", "p1", "p2"]
    assert [e.patient for e in open_data(folder, patient_pattern=r"p\d").entries] == ["p1", "p1", "p2"]
    with pytest.raises(CasesError, match=r"'q' is not found in 'p1_a'"):
        open_data(folder, patient_pattern="q")
    with pytest.raises(CasesError, match="not a regular expression"):
        open_data(folder, patient_pattern="(")


def test_a_missing_label_is_named(folder: Path) -> None:
    (folder / "labels/p1_b.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images have no label .* p1_b\.nii\.gz"):
        open_data(folder)


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*images"):
        open_data(tmp_path, "pairs")
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*Known suffixes"):
        open_data(tmp_path, "pairs")


def test_reading_names_the_file(folder: Path) -> None:
    entries = open_data(folder).entries
    volume(folder / "labels/p1_a.nii.gz", np.zeros((3, 4, 6), np.uint8))
    with pytest.raises(VolumeError, match=r"labels/p1_a\.nii\.gz: The label's grid 3 x 4 x 6"):
        entries[0].read()
    (folder / "images/p1_b.nii.gz").write_text("not an image")
    with pytest.raises(VolumeError, match=r"images/p1_b\.nii\.gz: .*not a readable medical image"):
        entries[1].read()

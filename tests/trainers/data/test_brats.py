"""BraTS by its old, new and bare names; label values of the year; what a study lacks."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.files import ids, volume
from trainers.data.cases import CasesError
from trainers.data.readers import open_data, recognise
from trainers.data.readers.brats import patient
from trainers.data.volumes import VolumeError

SHAPE = (4, 5, 6)
OLD = {"t1": 1, "t1ce": 2, "t2": 3, "flair": 4}
NEW = {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 4}


def study(folder: Path, names: dict[str, int], separator: str, tumour: int | None) -> Path:
    """Each sequence is constant; the label has 1, 2 and `tumour`."""
    for name, value in names.items():
        volume(folder / f"{folder.name}{separator}{name}.nii.gz", np.full(SHAPE, value, np.int16))
    if tumour is not None:
        label = np.zeros(SHAPE, np.uint8)
        label[0, 0, :3] = (1, 2, tumour)
        volume(folder / f"{folder.name}{separator}seg.nii.gz", label)
    return folder


def test_old_names(tmp_path: Path) -> None:
    study(tmp_path / "HGG/BraTS19_CBICA_AAB_1", OLD, "_", 4)
    study(tmp_path / "LGG/BraTS20_Training_001", OLD, "_", 4)
    assert recognise(tmp_path) == "brats"
    data = open_data(tmp_path)
    assert data.channels == ("t1", "t1c", "t2", "flair") and data.labels == {"NCR": 1, "ED": 2, "ET": 4}
    assert ids(data) == ["BraTS19_CBICA_AAB_1", "BraTS20_Training_001"]
    assert [entry.patient for entry in data.entries] == ["BraTS19_CBICA_AAB", "BraTS20_Training_001"]
    sample = pickle.loads(pickle.dumps(data.entries[1])).read()
    assert sample.image.shape == (4, *SHAPE) and sample.image[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert sorted(np.unique(sample.label)) == [0, 1, 2, 4]
    np.testing.assert_allclose(sample.affine, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_new_names_and_time_points(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"):
        study(tmp_path / name, NEW, "-", 3)
    data = open_data(tmp_path)
    assert data.labels == {"NCR": 1, "ED": 2, "ET": 3}
    assert [entry.patient for entry in data.entries] == ["BraTS-GLI-00001"] * 2 + ["BraTS-GLI-00002"]
    assert data.entries[0].read().image[:, 0, 0, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BraTS-MEN-00123-001", "BraTS-MEN-00123"),
        ("Brats18_TCIA08_167_1", "Brats18_TCIA08_167"),
        ("BraTS19_2013_0_1", "BraTS19_2013_0"),
        ("BraTS2021_00002", "BraTS2021_00002"),
        ("BraTS20_Training_355", "BraTS20_Training_355"),
    ],
)
def test_patients(name: str, expected: str) -> None:
    assert patient(name) == expected


def test_bare_names_without_segmentation(tmp_path: Path) -> None:
    for name in ("t1", "t1c", "t2", "flair"):
        volume(tmp_path / f"case/{name}.nii.gz", np.ones(SHAPE, np.int16))
    assert recognise(tmp_path) == "brats"
    data = open_data(tmp_path)
    assert data.entries[0].read().label is None
    assert data.notes == ("1 of 1 studies have no segmentation.",)


def test_the_one_study_whose_segmentation_is_misnamed(tmp_path: Path) -> None:
    folder = study(tmp_path / "BraTS20_Training_355", OLD, "_", 4)
    (folder / "BraTS20_Training_355_seg.nii.gz").rename(folder / "W39_1998.09.19_Segm.nii.gz")
    label = open_data(tmp_path).entries[0].read().label
    assert label is not None and label.max() == 4


def test_missing_sequences_are_named(tmp_path: Path) -> None:
    study(tmp_path / "BraTS20_Training_001", OLD, "_", 4)
    folder = study(tmp_path / "BraTS20_Training_002", OLD, "_", 4)
    for name in ("t1ce", "flair"):
        (folder / f"{folder.name}_{name}.nii.gz").unlink()
    with pytest.raises(CasesError, match=r"1 of 2 studies lack a sequence \(BraTS20_Training_002: t1c, flair\)"):
        open_data(tmp_path)
    assert open_data(tmp_path, sequences=("t2", "t1")).entries[1].read().image[:, 0, 0, 0].tolist() == [3, 1]
    with pytest.raises(CasesError, match="Unknown sequences: t3"):
        open_data(tmp_path, sequences=("t3",))


def test_label_schemes_do_not_mix(tmp_path: Path) -> None:
    study(tmp_path / "BraTS20_Training_001", OLD, "_", 4)
    study(tmp_path / "BraTS-GLI-00001-000", NEW, "-", 3)
    with pytest.raises(CasesError, match=r"several label schemes are mixed: 2021, 2023"):
        open_data(tmp_path)


def test_an_unknown_label_value_unless_it_is_named(tmp_path: Path) -> None:
    """4 is the resection cavity, which is there after treatment alone."""
    study(tmp_path / "BraTS-GLI-00001-000", NEW, "-", 4)
    with pytest.raises(VolumeError, match=r"000-seg\.nii\.gz: Label values \[4\] are not known"):
        open_data(tmp_path).entries[0].read()
    data = open_data(tmp_path, labels={"NETC": 1, "SNFH": 2, "ET": 3, "RC": 4})
    assert data.labels["RC"] == 4 and data.entries[0].read().label.max() == 4  # type: ignore[union-attr]


def test_after_treatment_there_is_a_cavity(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-02062-100", "BraTS-GLI-02062-101"):
        study(tmp_path / name, NEW, "-", 4)
    data = open_data(tmp_path)
    assert data.labels == {"NCR": 1, "ED": 2, "ET": 3, "RC": 4}
    assert [entry.patient for entry in data.entries] == ["BraTS-GLI-02062"] * 2
    assert data.entries[0].read().label.max() == 4  # type: ignore[union-attr]
    study(tmp_path / "BraTS-GLI-02063-100", NEW, "-", 5)
    with pytest.raises(VolumeError, match=r"Label values \[5\] are not known"):
        open_data(tmp_path).entries[2].read()
    study(tmp_path / "BraTS20_Training_001", OLD, "_", 4)
    with pytest.raises(CasesError, match=r"several label schemes are mixed: 2021, 2024"):
        open_data(tmp_path)


def test_before_and_after_treatment_in_one_set(tmp_path: Path) -> None:
    study(tmp_path / "BraTS-GLI-00001-000", NEW, "-", 4)
    study(tmp_path / "BraTS-GLI-00001-100", NEW, "-", 4)
    before, after = (data := open_data(tmp_path)).entries
    assert data.labels == {"NCR": 1, "ED": 2, "ET": 3, "RC": 4} and before.patient == after.patient
    assert after.read().label.max() == 4  # type: ignore[union-attr]
    with pytest.raises(VolumeError, match=r"000-seg\.nii\.gz: Label values \[4\] are not known"):
        before.read()


def test_folders_around_the_files(tmp_path: Path) -> None:
    """Copies on Kaggle have `BraTS-GLI-00001-000-t1c.nii/00000057_brain_t1c.nii`."""
    folder = tmp_path / "BraTS-GLI-00001-000"
    for name, value in NEW.items():
        volume(folder / f"{folder.name}-{name}.nii/0000_brain_{name}.nii", np.full(SHAPE, value, np.int16))
    volume(folder / f"{folder.name}-seg.nii/0000_final_seg.nii", np.full(SHAPE, 3, np.uint8))
    assert recognise(tmp_path) == "brats"
    sample = open_data(tmp_path).entries[0].read()
    assert sample.image[:, 0, 0, 0].tolist() == [1, 2, 3, 4] and (sample.label == 3).all()


def test_other_challenges_keep_their_values_without_names(tmp_path: Path) -> None:
    study(tmp_path / "BraTS-PED-00001-000", NEW, "-", 4)
    data = open_data(tmp_path)
    assert data.labels == {} and data.entries[0].read().label.max() == 4  # type: ignore[union-attr]


def test_a_sequence_on_another_grid(tmp_path: Path) -> None:
    folder = study(tmp_path / "BraTS20_Training_001", OLD, "_", 4)
    volume(folder / f"{folder.name}_t2.nii.gz", np.ones(SHAPE, np.int16), np.eye(4))
    with pytest.raises(
        VolumeError, match=r"001_t2\.nii\.gz: It is not on the grid of BraTS20_Training_001_t1\.nii\.gz"
    ):
        open_data(tmp_path).entries[0].read()


def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no BraTS study below"):
        open_data(tmp_path, "brats")


@pytest.mark.realdata
def test_brats_sample(real_data: Path) -> None:
    entry = open_data(real_data / "brats_samples").entries[0]
    assert (entry.id, entry.patient) == ("BraTS-GLI-00001-000", "BraTS-GLI-00001")
    image = entry.read().image
    assert all(channel.std() > 0 for channel in image)
    assert len({float(channel.sum()) for channel in image}) == 4

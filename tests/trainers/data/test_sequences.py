"""Several images of each patient: a folder a patient, or folders with equal file names."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.files import ids, picture, volume
from trainers.data.alignment import align
from trainers.data.cases import CasesError
from trainers.data.readers import open_data, recognise
from trainers.data.readers.sequences import open_aligned, open_sequences
from trainers.data.volumes import Volume, VolumeError

FINE, COARSE = np.diag([1.0, 1.0, 3.0, 1.0]), np.diag([4.0, 4.0, 3.0, 1.0])
COARSE[:3, 3] = 1.5, 1.5, 0  # four fine voxels have their middle where a coarse one has it


def study(folder: Path) -> Path:
    """CT of 8 x 8 x 3 with the place along x, PET of 2 x 2 x 2 on its own grid, a mask."""
    x = np.broadcast_to(np.arange(8)[:, None, None], (8, 8, 3))
    volume(folder / "CT.nii.gz", x.astype(np.int16), FINE)
    volume(folder / "PET_SUV.nii.gz", np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2), COARSE)
    volume(folder / "mask.nii.gz", (x > 4).astype(np.uint8), FINE)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("p1", "p2"):
        study(tmp_path / "set" / name)
    return tmp_path / "set"


def test_sequences_are_channels_on_the_grid_of_the_first(folder: Path) -> None:
    assert recognise(folder) == "sequences"
    data = open_data(folder)
    assert data.channels == ("CT", "PET_SUV") and data.dimensions == 3
    assert ids(data) == ["p1", "p2"] == [entry.patient for entry in data.entries]
    sample = pickle.loads(pickle.dumps(data.entries[1])).read()
    assert sample.image.shape == (2, 8, 8, 3) and sample.image.dtype == np.float32 and sample.label is None
    np.testing.assert_allclose(sample.affine, FINE)
    np.testing.assert_array_equal(sample.image[0, :, 0, 0], np.arange(8))
    pet = sample.image[1]
    np.testing.assert_allclose(pet[1, :, 0], [1, 1, 1.25, 1.75, 2.25, 2.75, 3, 3])  # 1 and 3 in the coarse middles
    np.testing.assert_allclose(pet[:, 1, 1], [2, 2, 2.5, 3.5, 4.5, 5.5, 6, 6])
    assert (pet[..., 2] == 1).all()  # outside of the PET there is its smallest value


def test_sequences_are_chosen_and_ordered(folder: Path) -> None:
    data = open_sequences(folder, ("PET_SUV", "mask", "CT"))
    assert data.channels == ("PET_SUV", "mask", "CT")
    assert data.entries[0].read().image.shape == (3, 2, 2, 2)
    assert [file.name for file in data.entries[0].files] == ["PET_SUV.nii.gz", "mask.nii.gz", "CT.nii.gz"]
    with pytest.raises(CasesError, match="have one twice"):
        open_sequences(folder, ("CT", "CT"))


def test_a_missing_sequence_is_named_and_other_folders_are_skipped(folder: Path) -> None:
    (folder / "dicom/CT").mkdir(parents=True)
    volume(folder / "maps/atlas.nii.gz", np.zeros((4, 4, 4), np.uint8))
    data = open_sequences(folder, ("CT", "PET_SUV"))
    assert ids(data) == ["p1", "p2"] and data.notes == ("2 sub-folders have none of the sequences: dicom, maps.",)
    (folder / "p2/PET_SUV.nii.gz").unlink()
    with pytest.raises(CasesError, match=r"1 of 2 patients lack a sequence \(p2: PET_SUV\)"):
        open_sequences(folder, ("CT", "PET_SUV"))
    assert open_sequences(folder, ("CT",)).entries[1].read().image.shape == (1, 8, 8, 3)


def test_nothing_in_common(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CasesError, match=r"No sub-folder of .* has MR; there are CT, PET_SUV, mask"):
        open_sequences(folder, ("MR",))
    with pytest.raises(FileNotFoundError, match="no volumes in sub-folders"):
        open_sequences(tmp_path / "gone")
    volume(folder / "p3/MR.nii.gz", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(CasesError, match="No sequence is there for all patients"):
        open_sequences(folder)


@pytest.mark.parametrize(
    "name", ["lesion", "T1_lesions", "tumour", "Tumor", "annotation", "annotations", "contours", "ground_truth", "mask"]
)
def test_masks_by_any_name_are_no_channels(folder: Path, name: str) -> None:
    for patient in ("p1", "p2"):
        volume(folder / f"{patient}/{name}.nii.gz", np.zeros((8, 8, 3), np.uint8), FINE)
    assert open_sequences(folder).channels == ("CT", "PET_SUV")
    assert open_sequences(folder, ("CT", name)).channels == ("CT", name), "unless they are asked for"


def test_two_files_of_one_name(folder: Path) -> None:
    volume(folder / "p1/CT.nrrd", np.zeros((4, 4, 4), np.int16))
    with pytest.raises(CasesError, match="p1 has CT in several formats"):
        open_sequences(folder)


def test_volumes_elsewhere_do_not_overlap(folder: Path) -> None:
    far = COARSE.copy()
    far[:3, 3] = 500
    volume(folder / "p1/PET_SUV.nii.gz", np.zeros((2, 2, 2), np.float32), far)
    with pytest.raises(VolumeError, match=r"p1/PET_SUV\.nii\.gz: The images do not overlap\. .*register") as caught:
        open_sequences(folder).entries[0].read()
    assert caught.value.code == "wrong_geometry"


@pytest.mark.parametrize("names", [("t1", "t1c", "t2", "flair"), ("MR_T1", "MR_T1c", "MR_T2", "MR_FLAIR")])
def test_brats_stays_brats(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        volume(tmp_path / f"set/study/{name}.nii.gz", np.zeros((4, 4, 4), np.uint8))
    assert recognise(tmp_path / "set") == "brats"


@pytest.mark.parametrize("names", [("ct_001", "ct_002"), ("a", "b"), ("CT", "notes")])
def test_classes_stay_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for sub in ("sick", "well"):
        for name in names:
            volume(tmp_path / f"{sub}/{name}.nii.gz", np.zeros((4, 4, 4), np.uint8))
    assert recognise(tmp_path) == "folders"


def test_images_with_labels_stay_pairs(tmp_path: Path) -> None:
    for name in ("CT", "MR"):
        volume(tmp_path / f"images/{name}.nii.gz", np.zeros((4, 4, 4), np.uint8))
    assert recognise(tmp_path) == "pairs"


def test_a_grid_of_any_orientation() -> None:
    """A plane through a field that grows along RAS x, sampled along turned and flipped axes."""
    own = np.array([[0.0, 0, 2, -10], [-2, 0, 0, 12], [0, 2, 0, -4], [0, 0, 0, 1]])
    place = np.broadcast_to(np.arange(10) * 2.0 - 10, (12, 8, 10))  # RAS x along the third axis
    grid = Volume(np.zeros((5, 6, 4)), np.array([[-1.0, 0, 0, 3], [0, 1, 0, -2], [0, 0, 1, 0], [0, 0, 0, 1]]))
    found = align(Volume(place, own), grid)
    np.testing.assert_allclose(found.array, np.broadcast_to((3.0 - np.arange(5))[:, None, None], grid.shape), atol=1e-5)
    assert found.share == 1


def test_a_fine_volume_on_a_coarse_grid_is_averaged() -> None:
    stripes = np.broadcast_to(np.arange(64) % 2 * 100.0, (2, 2, 64)).transpose(2, 0, 1)
    coarse = Volume(np.zeros((16, 2, 2)), np.diag([4.0, 1, 1, 1]))
    found = align(Volume(stripes, np.eye(4)), coarse)
    np.testing.assert_allclose(found.array[1:-1], 50, atol=5)


def test_how_much_of_the_grid_is_seen() -> None:
    half = Volume(np.full((4, 8, 8), 7.0), np.eye(4))
    found = align(half, Volume(np.zeros((8, 8, 8)), np.eye(4)))
    assert found.share == 0.5 and (found.array == 7).all()


def test_folders_with_equal_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        volume(tmp_path / f"CT/{name}.nii.gz", np.full((8, 8, 2), 5, np.int16), FINE)
        volume(tmp_path / f"PET/{name}.nrrd", np.full((2, 2, 2), 2, np.float32), COARSE)
    data = open_aligned([tmp_path / "CT", tmp_path / "PET"])
    assert data.channels == ("CT", "PET") and data.dimensions == 3
    assert ids(data) == ["a", "b"] == [entry.patient for entry in data.entries]
    sample = pickle.loads(pickle.dumps(data.entries[0])).read()
    assert sample.image.shape == (2, 8, 8, 2) and sample.image[:, 0, 0, 0].tolist() == [5, 2]


def test_pictures_by_case_and_colour_as_luma(tmp_path: Path) -> None:
    for name in ("16003", "16004", "9001", "p1_012", "007"):
        picture(tmp_path / f"MRI/{name}.png", np.full((4, 6), 50, np.uint8))
        picture(tmp_path / f"PET/{name}.png", np.full((4, 6, 3), (200, 100, 0), np.uint8))
    data = open_aligned([tmp_path / "MRI", tmp_path / "PET"])
    assert data.dimensions == 2 and data.units == "0-255" and data.notes
    assert {e.id: e.patient for e in data.entries} == {
        "16003": "16", "16004": "16", "9001": "9", "p1_012": "p1", "007": "007",
    }  # fmt: skip
    sample = data.entries[0].read()
    assert sample.image.shape == (2, 6, 4) and sample.affine is None
    assert sample.image[0, 0, 0] == 50 and abs(sample.image[1, 0, 0] - (0.299 * 200 + 0.587 * 100)) < 1
    assert open_aligned([tmp_path / "PET"], r"\d").entries[0].patient == "0"


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    grey = np.zeros((4, 6), np.uint8)
    for name in ("a", "b"):
        picture(tmp_path / f"CT/{name}.png", grey)
    picture(tmp_path / "MR/a.png", grey[:, :5])
    with pytest.raises(CasesError, match=r"1 images of CT have no partner in MR, the first is b\.png"):
        open_aligned([tmp_path / "CT", tmp_path / "MR"])
    picture(tmp_path / "MR/b.png", grey)
    with pytest.raises(VolumeError, match=r"MR/a\.png and .*CT/a\.png differ in size: 5 x 4 and 6 x 4"):
        open_aligned([tmp_path / "CT", tmp_path / "MR"]).entries[0].read()
    volume(tmp_path / "PET/a.nii.gz", np.zeros((4, 4, 4), np.float32))
    with pytest.raises(CasesError, match="CT has pictures and PET has volumes"):
        open_aligned([tmp_path / "CT", tmp_path / "PET"])
    volume(tmp_path / "MR/a.nii.gz", np.zeros((4, 4, 4), np.float32))
    with pytest.raises(CasesError, match=r"pictures \(a\.png\) and volumes \(a\.nii\.gz\)"):
        open_aligned([tmp_path / "MR", tmp_path / "CT"])


def test_folders_that_are_not_there_or_not_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folders, message in (([tmp_path / "gone"], "no folder"), ([tmp_path / "empty"], "no volumes or pictures")):
        with pytest.raises(FileNotFoundError, match=message):
            open_aligned(folders)
    with pytest.raises(CasesError, match="different folders"):
        open_aligned([tmp_path / "empty"] * 2)
    for name in ("A", "B"):
        picture(tmp_path / name / "CT/a.png", np.zeros((4, 6), np.uint8))
    assert open_aligned([tmp_path / "A/CT", tmp_path / "B/CT"]).channels == ("A/CT", "B/CT")


@pytest.mark.realdata
def test_a_real_patient(real_data: Path) -> None:
    assert recognise(real_data / "sts_pet_ct_mr") == "sequences"
    data = open_data(real_data / "sts_pet_ct_mr")
    assert data.channels == ("CT", "MR_T1", "PET_SUV") and len(data.entries) == 14
    assert data.notes == ("1 sub-folders have none of the sequences: dicom_STS_002.",)
    ct, mr, pet = data.entries[0].read().image
    assert ct.shape == mr.shape == pet.shape == (115, 90, 35)
    assert ct.min() == -1000 and 15 < pet.max() < 21.7  # SUV; a peak of the native grid is hardly hit


@pytest.mark.realdata
def test_a_real_lesion_is_no_channel(real_data: Path) -> None:
    assert open_data(real_data / "ms_lesion_mni").channels == ("FLAIR", "T1", "T1post", "T2")


@pytest.mark.realdata
def test_real_pictures(real_data: Path) -> None:
    data = open_aligned([real_data / "harvard_fusion/PET-MRI" / name for name in ("MRI", "PET")])
    assert {entry.patient for entry in data.entries} == {"25", "30"}
    assert data.entries[0].read().image.shape == (2, 256, 256)

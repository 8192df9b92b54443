"""Plain folders: volumes, DICOM, pictures; classes by sub-folder and patients by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from tests.trainers.data.files import ids, picture, volume
from trainers.data.cases import CasesError
from trainers.data.readers import open_data
from trainers.data.volumes import VolumeError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)
RGB = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


def series(folder: Path, suffix: str = ".dcm", slices: int = 3) -> Path:
    """A DICOM series, as single files; voxel (x, y, z) is x + 10 y + 100 z."""
    folder.mkdir(parents=True)
    x, y = np.meshgrid(np.arange(4), np.arange(5))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(slices):
        image = sitk.GetImageFromArray((x + 10 * y + 100 * z).astype(np.int16)[np.newaxis])
        image.SetOrigin([0, 0, 2.5 * z])
        image.SetSpacing([1, 1, 2.5])
        for key, value in {
            "0008|0060": "CT", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3", "0008|0018": f"1.2.3.4.{z + 1}",
            "0020|0032": f"0\\0\\{2.5 * z}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(z + 1),
        }.items():  # fmt: skip
            image.SetMetaData(key, value)
        file = folder / f"slice{z}.dcm"
        writer.SetFileName(str(file))
        writer.Execute(image)
        file.rename(file.with_suffix(suffix))
    return folder


def test_volumes_in_one_folder(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for name in ("a.nii.gz", "b.nrrd", "c.mha"):
        volume(tmp_path / name, array)
    series(tmp_path / "d")
    data = open_data(tmp_path)
    assert ids(data) == ["a", "b", "c", "d"] and data.dimensions == 3 and data.classes == ()
    assert all(entry.read().image[0, 2, 3, 4] == 59 for entry in data.entries[:3])
    assert len(data.entries[3].files) == 3


def test_a_series_with_a_gap_is_told(tmp_path: Path) -> None:
    """Its slices would lie closer together, or farther apart, than they do in the patient."""
    folder = series(tmp_path / "one", slices=5)
    data = open_data(folder)
    (folder / "slice2.dcm").unlink()
    with pytest.raises(VolumeError, match=r"one is no volume\. It has gaps: images are missing after image 2 of 4"):
        data.entries[0].read()


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_a_dicom_series(tmp_path: Path, suffix: str) -> None:
    data = open_data(series(tmp_path / "one", suffix))
    sample = pickle.loads(pickle.dumps(data.entries[0])).read()
    assert ids(data) == ["one"]
    assert sample.image.shape == (1, 4, 5, 3) and sample.image[0, 3, 4, 2] == 243
    np.testing.assert_allclose(np.diag(sample.affine), [-1, -1, 2.5, 1])


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for name in ("tumour/P1_a", "tumour/P2_a", "healthy/P1_b"):
        picture(tmp_path / f"{name}.png", GREY)
    data = open_data(tmp_path, patient_pattern=r"P\d")
    assert data.classes == ("healthy", "tumour") and ids(data) == ["healthy/P1_b", "tumour/P1_a", "tumour/P2_a"]
    assert [entry.target for entry in data.entries] == [0, 1, 1]
    assert [entry.patient for entry in data.entries] == ["P1", "P1", "P2"]
    assert data.notes == () and "each image is taken for a patient" in open_data(tmp_path).notes[0]
    assert open_data(tmp_path, classes=False, recursive=True).classes == ()


def test_pictures_are_x_y_and_exact(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", GREY)
    data = open_data(tmp_path)
    sample = data.entries[0].read()
    assert (data.dimensions, data.units, data.channels) == (2, "0-255", ("image",))
    assert sample.image.dtype == np.float32 and sample.affine is None
    assert (sample.image[0] == GREY.T).all()


def test_colour_is_told_from_grey_by_content(tmp_path: Path) -> None:
    picture(tmp_path / "grey/a.png", np.stack([GREY] * 3, axis=-1))
    picture(tmp_path / "colour/a.png", RGB)
    assert open_data(tmp_path / "grey").entries[0].read().image.shape == (1, 6, 4)
    sample = open_data(tmp_path / "colour").entries[0].read()
    assert sample.image.shape == (3, 6, 4) and sample.image[:, 5, 3].tolist() == [23, 73, 123]
    assert open_data(tmp_path / "colour", colour=False).channels == ("image",)
    assert open_data(tmp_path / "grey", colour=True).entries[0].read().image.shape == (3, 6, 4)


def test_transparency_and_palettes(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB, np.zeros_like(GREY)])).save(tmp_path / "a.png")
    Image.fromarray(RGB).quantize(64).save(tmp_path / "b.png")
    for entry in open_data(tmp_path).entries:
        np.testing.assert_allclose(entry.read().image[:, 5, 3], [23, 73, 123], atol=3)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", GREY.astype(np.uint16) * 1000)
    data = open_data(tmp_path)
    assert data.units == "arbitrary" and data.entries[0].read().image.max() == 23000
    with pytest.raises(VolumeError, match=r"a\.png is grey with more than 8 bits"):
        open_data(tmp_path, colour=True).entries[0].read()


def test_deeper_folders_only_if_asked_for(tmp_path: Path) -> None:
    picture(tmp_path / "tumour/P7/deep/a.jpg", GREY)
    with pytest.raises(CasesError, match="is not known"):
        open_data(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"recursive=True looks deeper"):
        open_data(tmp_path, "folders")
    data = open_data(tmp_path, "folders", recursive=True, patient_pattern=r"P\d")
    assert ids(data) == ["tumour/P7/deep/a"] and data.classes == ("tumour",)
    assert data.entries[0].patient == "P7"


def test_images_and_masks_are_no_classes(tmp_path: Path) -> None:
    for name in ("images/a", "mask/a"):
        picture(tmp_path / f"{name}.png", GREY)
    with pytest.raises(CasesError, match=r"sub-folders images, mask of .* are no classes by their names"):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["CT", "labels"], ["CT"]),
        (["a_ct", "a_ct_seg", "b_image", "b_label"], ["a_ct", "b_image"]),
        (["a_T1w", "a_dseg", "mask-b", "b"], ["a_T1w", "b"]),
        (["a", "a_lesion_mask", "totalseg_ct"], ["a", "totalseg_ct"]),
        (["lesion_1", "lesion_2", "healthy_1"], ["healthy_1", "lesion_1", "lesion_2"]),
        (["a_seg", "b_seg"], ["a_seg", "b_seg"]),
    ],
)
def test_masks_beside_their_images_are_left_out(tmp_path: Path, names: list[str], images: list[str]) -> None:
    for name in names:
        volume(tmp_path / f"{name}.nii.gz", np.zeros((3, 4, 5), np.int16))
    data, gone = open_data(tmp_path), len(names) - len(images)
    assert ids(data) == images
    told = [note for note in data.notes if "left out" in note]
    assert len(told) == (gone > 0) and all(f"{gone} file" in note for note in told)


def test_classes_named_for_a_tumour_keep_their_images(tmp_path: Path) -> None:
    for name in ("no_tumor/no_tumor_1", "glioma_tumor/glioma_tumor_1", "glioma_tumor/1", "glioma_tumor/1_mask"):
        picture(tmp_path / f"{name}.png", GREY)
    data = open_data(tmp_path)
    assert ids(data) == ["glioma_tumor/1", "glioma_tumor/glioma_tumor_1", "no_tumor/no_tumor_1"]
    assert data.notes[-1] == "1 file (1_mask.png) is a mask by its name and was left out."


def test_pictures_and_volumes_do_not_mix(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", GREY)
    volume(tmp_path / "b.nii.gz", np.zeros((3, 4, 5), np.int16))
    with pytest.raises(CasesError, match=r"pictures \(a\.png\) and volumes \(b\.nii\.gz\)"):
        open_data(tmp_path)


def test_hidden_files_are_not_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", GREY)
    (tmp_path / "._a.png").write_bytes(b"Mac OS X")
    assert ids(open_data(tmp_path)) == ["a"]


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", GREY)
    entry = open_data(tmp_path).entries[0]
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(VolumeError, match=r"a\.png is not a readable picture"):
        entry.read()
    (tmp_path / "a.png").unlink()
    with pytest.raises(VolumeError, match=r"There is no file .*a\.png"):
        entry.read()


@pytest.mark.realdata
def test_real_folders(real_data: Path) -> None:
    tumours = open_data(real_data / "brain_tumor_mr2d")
    assert tumours.classes == ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    assert tumours.channels == ("image",)
    fundus = open_data(real_data / "fundus_dr", patient_pattern=r"Patient\d+")
    assert fundus.channels == ("red", "green", "blue")
    assert len({entry.patient for entry in fundus.entries}) == 242 < len(fundus.entries)
    image = fundus.entries[0].read().image
    assert image[0].mean() > image[2].mean()  # a fundus is red

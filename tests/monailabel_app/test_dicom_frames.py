"""What of a folder is an image, where the frames of one object lie, and what the voxels of a slice are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_world import in_space, label_of, make_series, same_in_space
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from monailabel_app.dicom import provenance
from monailabel_app.dicom.identity import nobody
from monailabel_app.dicom.maker import Maker
from monailabel_app.dicom.seg import segmentation
from monailabel_app.dicom.series import Place, add_series, import_series, sorted_files, study_name
from monailabel_app.errors import MedGANError
from trainers.data.volumes import LPS_TO_RAS, Volume, read_volume

ROW, COLUMN = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, 0.8])
NORMAL = np.cross(ROW, COLUMN)
FIRST = np.array([3.0, -4.0, 5.0])
FRAMES = 6
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "studies", tmp_path / "data", tmp_path / "data" / "tmp")
    found.studies.mkdir()
    found.scratch.mkdir(parents=True)
    return found


def item(**values: Any) -> Dataset:
    found = Dataset()
    for key, value in values.items():
        setattr(found, key, value)
    return found


def enhanced(folder: Path, steps: Sequence[float], slopes: Sequence[float] = (1,) * FRAMES) -> tuple[Path, np.ndarray]:
    """An enhanced MR of `FRAMES` frames, each so many mm along the normal. Returns its file and voxels, (x, y, z)."""
    array = np.random.default_rng(0).integers(1, 900, (7, 5, FRAMES)).astype(np.int16)
    file = item(
        PatientID="p", StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), Modality="MR",
        SOPClassUID=EnhancedMRImageStorage, SOPInstanceUID=generate_uid(), NumberOfFrames=FRAMES, Rows=5, Columns=7,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15,
        PixelRepresentation=1, PixelData=np.ascontiguousarray(array.transpose(2, 1, 0)).tobytes(),
    )  # fmt: skip
    orientation = item(ImageOrientationPatient=[f"{v:.9f}" for v in (*ROW, *COLUMN)])
    measures = item(PixelSpacing=[1.1, 0.9], SliceThickness=2.5)
    file.SharedFunctionalGroupsSequence = [
        item(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[measures])
    ]
    places = [item(ImagePositionPatient=[f"{v:.6f}" for v in FIRST + step * NORMAL]) for step in steps]
    scales = [item(RescaleIntercept="0", RescaleSlope=str(slope), RescaleType="US") for slope in slopes]
    file.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[p], PixelValueTransformationSequence=[s])
        for p, s in zip(places, scales, strict=True)
    ]
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.is_little_endian, file.is_implicit_VR = True, False
    folder.mkdir()
    pydicom.dcmwrite(folder / "1.dcm", file, write_like_original=False)
    return folder / "1.dcm", array


def made(folder: Path, place: Place) -> Volume:
    add_series(sorted_files(folder), place, origin="archive")
    return read_volume(next(place.studies.glob("*.nii.gz")))


@pytest.mark.parametrize("sense", [2.5, -2.5])
def test_frames_lie_where_the_object_says(tmp_path: Path, place: Place, sense: float) -> None:
    file, array = enhanced(tmp_path / "in", [sense * n for n in range(FRAMES)], slopes=(2,) * FRAMES)
    affine = np.eye(4)
    affine[:3] = np.stack([0.9 * ROW, 1.1 * COLUMN, sense * NORMAL, FIRST], 1)
    assert same_in_space(in_space(made(file.parent, place)), in_space(Volume(2 * array, LPS_TO_RAS @ affine)))


@pytest.mark.parametrize(
    ("steps", "slopes", "text"),
    [
        ([0, 0, 2, 2, 4, 4], (1,) * 6, "at one place"),
        ([0, 2, 4, 0, 2, 4], (1,) * 6, "not in one row"),
        ([0, 4, 8, 2, 6, 10], (1,) * 6, "not in one row"),
        ([0, 2, 4, 6, 8, 20], (1,) * 6, "missing after image 5 of 6"),
        ([0, 2, 4, 6, 8, 10], (1, 2, 3, 4, 5, 6), "slopes or intercepts of their own"),
    ],
)
def test_frames_that_are_no_volume(
    tmp_path: Path, place: Place, steps: list[float], slopes: tuple[float, ...], text: str
) -> None:
    file, _ = enhanced(tmp_path / "in", steps, slopes)
    with pytest.raises(MedGANError, match=text):
        made(file.parent, place)
    assert not list(place.studies.iterdir())


def test_a_film_is_no_volume(tmp_path: Path, place: Place) -> None:
    file, _ = enhanced(tmp_path / "in", range(FRAMES))
    film = pydicom.dcmread(file)
    for group in GROUPS:
        del film[group]
    film.save_as(file)
    with pytest.raises(MedGANError, match="frames have no positions"):
        made(file.parent, place)


def test_a_segmentation_beside_its_images_is_no_study(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    series = make_series(place.studies / "scan")
    name = study_name(series.uid)
    assert import_series(place.studies, place.data) == [name]
    label = label_of(read_volume(place.file(name)))
    whole = segmentation(provenance.load(place.data, name), nobody(), label, Maker("m", "v0001"))
    (place.studies / "seg").mkdir()
    pydicom.dcmwrite(place.studies / "seg" / "1.dcm", whole, write_like_original=False)
    assert import_series(place.studies, place.data) == []
    assert "its modality is SEG" in caplog.text


@pytest.mark.parametrize(
    "scales",
    [
        [("1", "0"), ("0.5", "0"), ("2.25", "0"), ("1", "0")],
        [("1", "0"), ("1", "-1024"), ("1", "0"), ("1", "-2000")],
        [("1", "0"), ("100", "0"), ("1", "0"), ("1", "0")],
        [("0.125", "-3"), ("0.5", "0"), ("2.25", "7"), ("1", "0")],
    ],
)
def test_each_slice_has_a_scale_of_its_own(tmp_path: Path, place: Place, scales: list[tuple[str, str]]) -> None:
    """As in PET, and in CT from some scanners: what the first slice is stored in need not hold the others."""
    folder = make_series(tmp_path / "in", shape=(6, 5, len(scales)), Modality="PT").folder
    told = []
    for file, (slope, intercept) in zip(sorted(folder.iterdir()), scales, strict=True):
        one = pydicom.dcmread(file)
        one.RescaleSlope, one.RescaleIntercept = slope, intercept
        one.PixelRepresentation, one.BitsStored, one.HighBit = 0, 12, 11
        one.save_as(file)
        told.append(one.pixel_array.T * float(slope) + float(intercept))
    assert np.array_equal(made(folder, place).array, np.stack(told, 2))
    assert np.array_equal(read_volume(folder).array, np.stack(told, 2))

"""Which series are one volume, and where results lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_world import DIRECTIONS, in_space, label_of, make_series, same_in_space, segments_of, volume_of
from pydicom.dataset import Dataset

from monailabel_app.dicom import provenance
from monailabel_app.dicom.codes import anatomy
from monailabel_app.dicom.derived import storage_of, write_series
from monailabel_app.dicom.geometry import check_stack, nearest_slice, stack_affine
from monailabel_app.dicom.identity import identity_of, nobody
from monailabel_app.dicom.maker import Maker
from monailabel_app.dicom.provenance import SERIES, SLICE, Source
from monailabel_app.dicom.seg import cielab, segmentation
from monailabel_app.dicom.series import Place, add_series, import_series, sorted_files, study_name
from monailabel_app.errors import MedGANError
from trainers.data.volumes import Volume, same_grid

MAKER = Maker("mr_super_resolution", "v0001")


def headers(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(f, specific_tags=[*SERIES, *SLICE]) for f in sorted_files(folder)]


def source_of(folder: Path) -> Source:
    found = headers(folder)
    return Source("study", "", "", found[0], found)


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_grid_of_the_headers(tmp_path: Path, direction: str) -> None:
    series = make_series(tmp_path / "s", direction)
    slices = headers(series.folder)
    check_stack(slices)
    voxels = np.zeros(series.volume.shape)
    voxels[3, 4, 5] = voxels[0, 0, 0] = 1
    order = slice(None, None, -1 if direction == "reversed" else 1)
    told = Volume(voxels[:, :, order], stack_affine(slices))
    assert same_in_space(in_space(told), in_space(series.volume.like(voxels)))
    places = [np.array([float(v) for v in h.ImagePositionPatient]) for h in slices]
    assert [nearest_slice(slices, p) for p in places] == list(range(7))


def change(slices: list[Dataset], index: int, **values: Any) -> None:
    for key, value in values.items():
        setattr(slices[index], key, value)


def moved(slices: list[Dataset], index: int, by: tuple[float, float, float]) -> None:
    slices[index].ImagePositionPatient = [
        float(v) + d for v, d in zip(slices[index].ImagePositionPatient, by, strict=True)
    ]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda s: s.pop(3), "missing after image 3 of 6"),
        (lambda s: s.insert(3, s[3]), "at one place"),
        (lambda s: moved(s, 3, (0, 0, 0.6)), "unevenly"),
        (lambda s: [moved(s, n, (0, 0.4 * n, 0)) for n in range(7)], "tilted gantry"),
        (lambda s: moved(s, 3, (5, 0, 0)), "tilted gantry"),
        (lambda s: change(s, 2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "localizer"),
        (lambda s: change(s, 2, Rows=99), "several volumes"),
        (lambda s: change(s, 2, ImagePositionPatient=None), "no positions"),
        (lambda s: s.reverse() or s.append(s.pop(2)), "not in one row"),
    ],
)
def test_series_that_are_no_volume(tmp_path: Path, spoil: Any, text: str) -> None:
    slices = headers(make_series(tmp_path / "s").folder)
    spoil(slices)
    with pytest.raises(MedGANError, match=text):
        check_stack(slices)


def test_gaps_are_left_out_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".medgan" / "tmp").mkdir(parents=True)
    make_series(tmp_path / "holes", skip=(3,))
    good = make_series(tmp_path / "good")
    assert import_series(tmp_path, tmp_path / ".medgan") == [study_name(good.uid)]
    assert "gaps" in caplog.text and "ller" not in caplog.text


def test_an_older_study_gets_its_origin(tmp_path: Path) -> None:
    data = tmp_path / ".medgan"
    (data / "tmp").mkdir(parents=True)
    series = make_series(tmp_path / "s")
    name = import_series(tmp_path, data)[0]
    stamp = (tmp_path / f"{name}.nii.gz").stat().st_mtime_ns
    provenance.source_file(data, name).unlink()
    assert import_series(tmp_path, data) == []
    assert provenance.load(data, name).series.SeriesInstanceUID == series.uid
    assert (tmp_path / f"{name}.nii.gz").stat().st_mtime_ns == stamp


def test_origin_keeps_numbers_that_dicom_can_write(tmp_path: Path) -> None:
    data = tmp_path / ".medgan"
    (data / "tmp").mkdir(parents=True)
    series = make_series(tmp_path / "s", "oblique", EchoTime="2.0833333333")
    add_series(sorted_files(series.folder), Place(tmp_path, data, data / "tmp"))
    source = provenance.load(data, study_name(series.uid))
    assert all(len(str(v)) <= 16 for h in source.slices for v in h.ImageOrientationPatient)
    told = stack_affine(source.slices)
    assert np.allclose(told, stack_affine(headers(series.folder)), atol=1e-9)


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_segmentation_in_space(tmp_path: Path, direction: str) -> None:
    source = source_of(make_series(tmp_path / "s", direction).folder)
    grid = Volume(np.zeros((12, 10, 7)), stack_affine(source.slices))
    label = label_of(grid)
    found = segments_of(segmentation(source, nobody(), label, MAKER))
    for number in (1, 2):
        assert same_in_space(found[number], in_space(label.like((label.array == number).astype(np.uint8))))
    mirrored = label.like(label.array[::-1])
    other = segments_of(segmentation(source, nobody(), mirrored, MAKER))
    assert not same_in_space(other[1], found[1])


def test_values_with_gaps_keep_their_names(tmp_path: Path) -> None:
    source = source_of(make_series(tmp_path / "s").folder)
    array = np.zeros((12, 10, 7), np.uint16)
    array[2, 2, 2], array[3, 3, 3] = 7, 300
    label = Volume(array, stack_affine(source.slices))
    made = segmentation(source, nobody(), label, Maker("m", "v0001", True, {"liver": 7, "thing": 300}))
    assert [(s.SegmentNumber, s.SegmentLabel) for s in made.SegmentSequence] == [(1, "liver"), (2, "thing")]
    assert ["value 7" in made.SegmentSequence[0].SegmentDescription, made.pixel_array.sum()] == [True, 2]
    assert made.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"


@pytest.mark.parametrize(
    ("tag", "model", "kind"), [(True, "m", "SEMIAUTOMATIC"), (False, "m", "AUTOMATIC"), (True, "", "MANUAL")]
)
def test_who_made_it(tmp_path: Path, tag: bool, model: str, kind: str) -> None:
    source = source_of(make_series(tmp_path / "s").folder)
    label = label_of(Volume(np.zeros((12, 10, 7)), stack_affine(source.slices)))
    made = segmentation(source, nobody(), label, Maker(model, "v0001", tag))
    assert made.SegmentSequence[0].SegmentAlgorithmType == kind
    assert ("AI-generated" in made.SeriesDescription) is bool(model)
    assert ("corrected by a clinician" in made.SeriesDescription) is (bool(model) and tag)


def test_labels_that_cannot_be_exported(tmp_path: Path) -> None:
    source = source_of(make_series(tmp_path / "s").folder)
    empty = Volume(np.zeros((12, 10, 7), np.uint8), stack_affine(source.slices))
    shifted = Volume(np.ones((12, 10, 7), np.uint8), empty.affine + np.eye(4, k=3))
    for label, code in ((empty, "wrong_labels"), (shifted, "wrong_geometry")):
        with pytest.raises(MedGANError) as caught:
            segmentation(source, nobody(), label, MAKER)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("array", "exact"),
    [
        (np.array([-1024, 0, 3071], np.int16), True),
        (np.array([0, 40000, 65535], np.uint16), True),
        (np.array([-5.5, 0.25, 9e5], np.float32), False),
        (np.array([1e-7, 2e-7, 3e-7], np.float64), False),
        (np.array([4, 4, 4], np.float32), True),
        (np.array([-70000, 70000], np.int32), False),
    ],
)
def test_sixteen_bits(array: np.ndarray, exact: bool) -> None:
    stored = storage_of(array)
    back = stored.of(array).astype(float) * stored.slope + stored.intercept
    assert np.abs(back - array).max() <= (0 if exact else 0.51 * np.ptp(array.astype(float)) / 65535)


def test_derived_series_of_other_modalities(tmp_path: Path) -> None:
    source = source_of(make_series(tmp_path / "s").folder)
    image = Volume(np.arange(840).reshape(12, 10, 7).astype(np.int16) - 400, stack_affine(source.slices))
    files = write_series(tmp_path, source, nobody(), image, Maker("mr_to_ct", "v0001", units="HU"), "CT")
    datasets = [pydicom.dcmread(f) for f in files]
    assert {d.SOPClassUID.name for d in datasets} == {"CT Image Storage"} and datasets[0].RescaleType == "HU"
    assert "EchoTime" not in datasets[0] and len({d.SOPInstanceUID for d in datasets}) == 7
    assert datasets[3].SourceImageSequence[0].ReferencedSOPInstanceUID == source.slices[3].SOPInstanceUID
    found = volume_of(datasets)
    assert np.array_equal(found.array, image.array) and same_grid(found, image)
    with pytest.raises(MedGANError, match="only MR and CT"):
        write_series(tmp_path, source, nobody(), image, MAKER, "PT")


@pytest.mark.parametrize("told", ["YES", "NO"])
def test_text_in_the_voxels_is_not_denied(tmp_path: Path, told: str) -> None:
    source = source_of(make_series(tmp_path / "s", BurnedInAnnotation=told).folder)
    image = Volume(np.zeros((12, 10, 7), np.int16), stack_affine(source.slices))
    files = write_series(tmp_path, source, nobody(), image, MAKER, "MR")
    assert {pydicom.dcmread(file).BurnedInAnnotation for file in files} == {told}


def test_headers_that_are_not_as_dicom_wants_them(tmp_path: Path) -> None:
    folder = make_series(tmp_path / "s", PatientSex="U", PatientBirthDate="about 1950").folder
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.SliceThickness, dataset.FrameOfReferenceUID
        dataset.save_as(file)
    source = source_of(folder)
    source = Source("s", "", next(folder.iterdir()).name, source.series, source.slices)
    who = identity_of(source, folder, None)
    label = label_of(Volume(np.zeros((12, 10, 7)), stack_affine(source.slices)))
    made = segmentation(source, who, label, MAKER)
    made.save_as(tmp_path / "seg.dcm", write_like_original=False)
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (read.PatientSex, read.PatientBirthDate, read.PatientID) == ("U", "about 1950", "MRN-4711")
    assert float(read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) == 2.5


def test_anatomy() -> None:
    assert anatomy("posterior", "hippocampus").modifier is not None
    assert anatomy("left lung", "").type.meaning == "Lung"
    assert anatomy("anomaly", "chest").category.meaning == "Morphologically Abnormal Structure"
    assert anatomy("Kidneys", "").type.value == "64033007"
    assert anatomy("gizmo", "gadget").type.meaning == "Tissue"


def test_colours() -> None:
    assert cielab([1, 1, 1]) == pytest.approx([65535, 32896, 32896], abs=40)
    assert cielab([0, 0, 0]) == [0, 32896, 32896]

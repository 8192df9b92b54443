"""SUV of PET from DICOM headers, against values computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from trainers.data.suv import NoSuv, suv_factor
from trainers.data.volumes import read_volume

HALF_LIFE = 6586.2  # s, fluorine-18
DOSE, WEIGHT = 370e6, 74.0
ISOTOPE = {
    "RadionuclideTotalDose": DOSE, "RadionuclideHalfLife": HALF_LIFE,
    "RadiopharmaceuticalStartTime": "090000", "RadiopharmaceuticalStartDateTime": "20260301090000",
}  # fmt: skip
SERIES = {
    "Units": "BQML", "CorrectedImage": ["NORM", "ATTN", "SCAT", "DECY"], "DecayCorrection": "START",
    "PatientWeight": WEIGHT, "SeriesDate": "20260301", "SeriesTime": "100000.5",
    "AcquisitionDate": "20260301", "AcquisitionTime": "100200",
}  # fmt: skip
AN_HOUR = 1000 * WEIGHT / (DOSE * 0.5 ** (3600 / HALF_LIFE))


def header(isotope: dict[str, Any] | None = None, **more: Any) -> Dataset:
    made = Dataset()
    for key, value in {**SERIES, **more}.items():
        if value is not None:
            setattr(made, key, value)
    told = Dataset()
    for key, value in {**ISOTOPE, **(isotope or {})}.items():
        if value is not None:
            setattr(told, key, value)
    made.RadiopharmaceuticalInformationSequence = [told]
    return made


def test_an_hour_of_decay_by_hand() -> None:
    assert suv_factor([header()]) == pytest.approx(AN_HOUR)
    assert pytest.approx(2.92e-4, rel=0.01) == AN_HOUR  # 200 kg/GBq of what is left: 74 / (0.37 * 0.685)


@pytest.mark.parametrize(
    ("isotope", "more", "factor"),
    [
        ({}, {"DecayCorrection": "ADMIN"}, 1000 * WEIGHT / DOSE),
        ({"RadiopharmaceuticalStartDateTime": "20260301090000.250+0100"}, {}, AN_HOUR),
        ({"RadiopharmaceuticalStartDateTime": None}, {}, AN_HOUR),
        ({"RadiopharmaceuticalStartTime": None}, {}, AN_HOUR),
        ({"RadiopharmaceuticalStartDateTime": "20190704090000"}, {}, AN_HOUR),  # dates were shifted apart
        ({}, {"SeriesTime": "170000", "AcquisitionTime": "100000"}, AN_HOUR),  # made of another series, later
        ({}, {"Units": "GML"}, 1.0),
        ({}, {"Units": "GML", "SUVType": "BW"}, 1.0),
        (
            {"RadiopharmaceuticalStartTime": "233000", "RadiopharmaceuticalStartDateTime": None},
            {"SeriesTime": "003000", "AcquisitionTime": "003000"},
            AN_HOUR,
        ),
    ],
)
def test_what_headers_may_tell(isotope: dict[str, Any], more: dict[str, Any], factor: float) -> None:
    assert suv_factor([header(isotope, **more)]) == pytest.approx(factor)


def test_long_lived_isotopes_are_scanned_days_later_by_their_date_alone() -> None:
    zirconium = {"RadionuclideHalfLife": 78.41 * 3600, "RadiopharmaceuticalStartDateTime": "20260226100000"}
    left = DOSE * 0.5 ** (72 / 78.41)
    assert suv_factor([header(zirconium)]) == pytest.approx(1000 * WEIGHT / left)
    with pytest.raises(NoSuv, match="when the dose was injected"):
        suv_factor([header({**zirconium, "RadiopharmaceuticalStartDateTime": None})])


def test_the_factor_of_philips() -> None:
    made = header(Units="CNTS")
    with pytest.raises(NoSuv, match="unit is CNTS"):
        suv_factor([made])
    made.add_new((0x7053, 0x1000), "DS", "0.000375")
    assert suv_factor([made]) == pytest.approx(0.000375)


@pytest.mark.parametrize(
    ("isotope", "more", "reason"),
    [
        ({}, {"Units": "PROPCPS"}, "unit is PROPCPS"),
        ({}, {"Units": "GML", "SUVType": "LBM"}, "unit is GML"),
        ({}, {"CorrectedImage": ["ATTN"]}, "not corrected"),
        ({}, {"CorrectedImage": None}, "not corrected"),
        ({}, {"DecayCorrection": "NONE"}, "to which time"),
        ({}, {"PatientWeight": None}, "PatientWeight is not told"),
        ({}, {"PatientWeight": 0.0}, "PatientWeight is 0"),
        ({"RadionuclideTotalDose": 370.0}, {}, "RadionuclideTotalDose is 370"),  # MBq
        ({"RadionuclideHalfLife": None}, {}, "RadionuclideHalfLife is not told"),
        ({"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": None}, {}, "when the dose"),
        ({"RadiopharmaceuticalStartTime": "110000", "RadiopharmaceuticalStartDateTime": None}, {}, "after the scan"),
        ({}, {"SeriesDate": None, "AcquisitionDate": None}, "when it was scanned"),
    ],
)  # fmt: skip
def test_what_is_missing_or_absurd_is_told(isotope: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    with pytest.raises(NoSuv, match=reason):
        suv_factor([header(isotope, **more)])


def test_two_radiopharmaceuticals_are_refused() -> None:
    made = header()
    made.RadiopharmaceuticalInformationSequence = [*made.RadiopharmaceuticalInformationSequence, Dataset()]
    with pytest.raises(NoSuv, match="2 radiopharmaceuticals"):
        suv_factor([made])


def write_pet(folder: Path, slopes: tuple[float, ...], **more: Any) -> np.ndarray:
    """A PET of 5 x 4 pixels a slice, each with a slope of its own; returns its values in Bq/ml, (x, y, z)."""
    folder.mkdir()
    stored = np.random.default_rng(0).integers(0, 30000, (len(slopes), 4, 5)).astype(np.int16)
    uid, common = generate_uid(), header(**more)
    for index, slope in enumerate(slopes):
        one = Dataset()
        one.update(common)
        one.SOPClassUID, one.SOPInstanceUID = PositronEmissionTomographyImageStorage, generate_uid()
        one.Modality, one.SeriesInstanceUID, one.StudyInstanceUID = "PT", uid, uid
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * index], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.InstanceNumber = [2, 2], 3, index + 1
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = str(slope), "0"
        one.PixelData = stored[index].tobytes()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.is_little_endian, one.is_implicit_VR = True, False
        pydicom.dcmwrite(folder / f"{index}.dcm", one, write_like_original=False)
    return (stored * np.array(slopes)[:, None, None]).transpose(2, 1, 0)


@pytest.mark.parametrize("slopes", [(0.5, 1.25, 2.0), (1.0, 1.0, 1.0)])
def test_a_series_is_read_in_suv(tmp_path: Path, slopes: tuple[float, ...]) -> None:
    concentration = write_pet(tmp_path / "pet", slopes)
    read = np.asarray(read_volume(tmp_path / "pet").array)
    np.testing.assert_allclose(read, concentration * AN_HOUR, rtol=1e-5)


def test_a_series_that_does_not_tell_enough_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    concentration = write_pet(tmp_path / "pet", (1.0, 1.0, 1.0), PatientWeight=None)
    assert np.array_equal(np.asarray(read_volume(tmp_path / "pet").array), concentration)
    assert "its PatientWeight is not told" in caplog.text

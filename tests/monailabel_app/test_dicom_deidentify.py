"""De-identification: of what was planted nothing is left, and what is left is still whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_world import make_series
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from monailabel_app.dicom.deidentify import check_allowed, deidentified, keyed
from monailabel_app.dicom.harmless import DESCRIPTIONS, HARMLESS, SEQUENCES, UIDS
from monailabel_app.dicom.provenance import Source
from monailabel_app.errors import MedGANError

WORD = "PLANTED"
UID = "1.3.6.1.4.1.5962.99.1.4711"
DATE, TIME = "19511103", "111213.4711"
PLANTED: dict[str, Any] = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "UR", "PN"), WORD), "CS": WORD, "AE": WORD, "UI": UID,
    "DA": DATE, "TM": TIME, "DT": DATE + TIME, "AS": "072Y", "IS": "4711471", "DS": "4711.4711",
    "OB": b"PLANTED ", "OW": b"PLANTED ", "UN": b"PLANTED ",
}  # fmt: skip
TRACES = (WORD.encode(), UID.encode(), DATE.encode(), TIME.encode(), b"072Y", b"4711")


def full_of_identifiers(nested: bool = True) -> Dataset:
    """Every attribute of the standard's dictionary that can hold text, a date, a UID or bytes, with a trace in it."""
    dataset = Dataset()
    for tag in pydicom.datadict.DicomDictionary:
        vr = dictionary_VR(tag).split(" or ")[0]
        is_data = tag >> 16 >= 8 and (tag >> 16) % 2 == 0 and tag >> 16 not in (0xFFFE, 0x7FE0)
        if is_data and vr in PLANTED and keyword_for_tag(tag) not in HARMLESS:
            dataset.add_new(tag, vr, PLANTED[vr])
        if is_data and vr == "SQ" and nested:
            dataset.add_new(tag, "SQ", [code(), code("99PLANTED"), item()])
    if nested:
        dataset.SegmentSequence = [full_of_identifiers(nested=False)]
    block = dataset.private_block(0x0009, "PLANTED CO", create=True)
    block.add_new(1, "LO", WORD)
    block.add_new(2, "UN", b"PLANTED ")
    return dataset


def item() -> Dataset:
    found = Dataset()
    found.PatientName, found.ReferencedSOPInstanceUID, found.StudyDate = WORD, UID, DATE
    return found


def code(scheme: str = "") -> Dataset:
    found = Dataset()
    found.CodeValue, found.CodeMeaning, found.CodingSchemeDesignator = WORD, WORD, scheme
    return found


@pytest.fixture(scope="module")
def planted() -> Dataset:
    dataset = full_of_identifiers()
    dataset.SOPClassUID = MRImageStorage
    dataset.PixelData, dataset.Rows, dataset.Columns, dataset.BitsAllocated = b"\1\0" * 4, 2, 2, 16
    dataset["PixelData"].VR = "OW"
    dataset.EchoTime, dataset.Modality = "3.2", "MR"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = UID
    dataset.file_meta.SourceApplicationEntityTitle = WORD
    dataset.file_meta.PrivateInformationCreatorUID = UID
    dataset.file_meta.PrivateInformation = b"PLANTED "
    dataset.is_little_endian, dataset.is_implicit_VR, dataset.preamble = True, False, b"PLANTED ".ljust(128)
    return dataset


def written(dataset: Dataset) -> bytes:
    with io.BytesIO() as stream:
        pydicom.dcmwrite(stream, dataset, write_like_original=False)
        return stream.getvalue()


def test_nothing_planted_survives_in_the_bytes(planted: Dataset) -> None:
    assert len(list(planted.iterall())) > 3000
    with io.BytesIO() as stream:
        pydicom.dcmwrite(stream, planted)
        before = stream.getvalue()
    assert all(trace in before for trace in TRACES)
    after = written(deidentified(planted, "patient-a", keyed(b"k")))
    assert not [trace for trace in TRACES if trace in after]
    assert not [trace for trace in TRACES if trace.decode().encode("utf-16-le") in after]


def test_what_is_harmless_stays(planted: Dataset) -> None:
    clean = pydicom.dcmread(io.BytesIO(written(deidentified(planted, "patient-a", keyed(b"k")))))
    assert (clean.EchoTime, clean.Modality, clean.Rows, bytes(clean.PixelData)) == (3.2, "MR", 2, b"\1\0" * 4)
    assert clean.SOPClassUID == MRImageStorage
    assert (clean.PatientName, clean.PatientID, clean.PatientIdentityRemoved) == ("patient-a", "patient-a", "YES")
    assert [c.CodeValue for c in clean.DeidentificationMethodCodeSequence] == ["113100", "113105"]
    assert clean.LongitudinalTemporalInformationModified == "REMOVED"


def test_descriptions_of_others_do_not_stay() -> None:
    for manufacturer, stays in (("MedGAN", True), ("Scanner Works", False)):
        dataset = Dataset()
        dataset.Manufacturer, dataset.SeriesDescription = manufacturer, "AI-generated"
        dataset.file_meta, dataset.is_little_endian, dataset.is_implicit_VR = FileMetaDataset(), True, False
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert ("SeriesDescription" in deidentified(dataset, "p", keyed(b"k"))) is stays


def test_uids_are_replaced_consistently_and_by_the_key() -> None:
    first, second = keyed(b"one key"), keyed(b"another")
    assert first(UID) == keyed(b"one key")(UID) != second(UID)
    assert first(UID) != first(UID + ".1")
    assert all(pydicom.uid.UID(make(UID)).is_valid and len(make(UID)) <= 64 for make in (first, second))


def test_lists_know_only_what_dicom_knows() -> None:
    kinds = {"SQ": SEQUENCES, "UI": UIDS}
    for keyword in HARMLESS | DESCRIPTIONS | SEQUENCES | UIDS:
        vr = dictionary_VR(keyword)
        assert (keyword in kinds[vr]) if vr in kinds else (keyword not in SEQUENCES | UIDS), keyword
        assert vr not in {"DA", "DT", "TM", "PN", "AS", "UN"}, keyword


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        ({"Modality": "MR"}, False),
        ({"Modality": "CT", "BurnedInAnnotation": "NO"}, False),
        ({"Modality": "MR", "BurnedInAnnotation": "YES"}, True),
        ({"Modality": "US"}, True),
        ({"Modality": "SC", "BurnedInAnnotation": "NO"}, True),
    ],
)
def test_text_in_the_voxels(told: dict[str, str], refused: bool) -> None:
    series = Dataset()
    for key, value in told.items():
        setattr(series, key, value)
    source = Source("s", "", "", series, [])
    if not refused:
        check_allowed(source)
        return
    with pytest.raises(MedGANError, match="could name the patient") as caught:
        check_allowed(source)
    assert caught.value.code == "may_identify" and "burned_in" in caught.value.hint


def test_a_real_header_is_cleaned(tmp_path: Path) -> None:
    series = make_series(tmp_path / "s", InstitutionalDepartmentName="Radiology West", ProtocolName="t1 for Müller")
    for file in series.folder.iterdir():
        raw = written(deidentified(pydicom.dcmread(file), "patient-b", keyed(b"k")))
        for word in ("Müller", "Princeton", "MR-EAST", "SN-123456", "Elm", "Tech^Tom", "West", series.uid, "ACME"):
            assert word.encode() not in raw and word.encode("latin-1") not in raw, word

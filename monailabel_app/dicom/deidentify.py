"""De-identification of what is exported: DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile.

The profile names what must go; here all goes that is not in the lists of harmless.py: names, dates, institutions,
devices, private and unknown attributes, at any depth. UIDs are replaced by keyed ones, the same for the same UID as
long as the key is kept.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from monailabel_app.dicom.codes import coded
from monailabel_app.dicom.harmless import DESCRIPTIONS, HARMLESS, SCHEMES, SEQUENCES, UIDS
from monailabel_app.dicom.maker import MANUFACTURER, made_here
from monailabel_app.dicom.provenance import Source
from monailabel_app.errors import MedGANError

METHOD = (
    Code("113100", "DCM", "Basic Application Confidentiality Profile"),
    Code("113105", "DCM", "Clean Descriptors Option"),  # SeriesDescription and the like are MedGAN's own text
)
STANDARD = "1.2.840.10008."  # UIDs of the standard itself: classes, transfer syntaxes
LARGEST_UUID = 16  # bytes
BLANK = (
    "AccessionNumber", "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyDate", "StudyID", "StudyTime",
)  # fmt: skip
DUMMIES = {
    "PositionReferenceIndicator": "",
    "ContentDate": "19000101",
    "ContentTime": "000000",
    "ContentCreatorName": "",
    "DeviceSerialNumber": "0",
}
BURNED_MODALITIES = frozenset(
    ["US", "SC", "XC", "ES", "GM", "SM", "OP", "OT", "XA", "RF", "MG", "CR", "DX", "PX", "IO", "IVUS"]
)
Remap = Callable[[str], str]


def keyed(key: bytes) -> Remap:
    """What replaces UIDs: without the key nobody can tell, or try out, which one was replaced."""

    def remap(uid: str) -> str:
        digest = hmac.new(key, b"uid:" + uid.encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:LARGEST_UUID], 'big')}"

    return remap


def check_allowed(source: Source) -> None:
    """Refuses images that may show the patient's name in their voxels, which nothing here looks at.

    Raises:
        MedGANError: `may_identify`.
    """
    burned = str(source.series.get("BurnedInAnnotation", "")).upper() == "YES"
    if burned or source.modality in BURNED_MODALITIES:
        often = f"is of modality {source.modality}, which often has text burned in"
        why = "says that text is burned in" if burned else often
        hint = "Look at it; if there is none, say so with burned_in=true (--burned-in)."
        raise MedGANError("may_identify", f"The series {why}: voxels could name the patient.", hint)


def deidentify_file(path: Path, patient: str, remap: Remap) -> None:
    """De-identifies a DICOM file of MedGAN's in its place."""
    dataset = pydicom.dcmread(path)
    clean = deidentified(dataset, patient, remap)
    pydicom.dcmwrite(path, clean, write_like_original=False)


def deidentified(dataset: Dataset, patient: str, remap: Remap) -> Dataset:
    """A copy of a dataset without what identifies the patient, the staff, the institution or the device.

    Args:
        dataset: with its file meta information.
        patient: the pseudonym that stands for name and id.
        remap: what replaces UIDs.
    """
    clean = _clean(dataset, remap, made_here(dataset) is not None)
    for keyword in BLANK:
        setattr(clean, keyword, "")
    for keyword, dummy in DUMMIES.items():
        if keyword in dataset:
            setattr(clean, keyword, dummy)
    clean.SpecificCharacterSet = "ISO_IR 192"
    clean.PatientName = clean.PatientID = patient
    clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified = "YES", "REMOVED"
    clean.DeidentificationMethod = "DICOM PS3.15 Annex E Basic Profile; faces are not removed"
    clean.DeidentificationMethodCodeSequence = [coded(code) for code in METHOD]
    _add_meta(clean, dataset)
    return clean


def _add_meta(clean: Dataset, dataset: Dataset) -> None:
    """New file meta information: that of the original can name the machine that sent it."""
    clean.file_meta = pydicom.dataset.FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    clean.file_meta.MediaStorageSOPClassUID = clean.get("SOPClassUID", "")
    clean.file_meta.MediaStorageSOPInstanceUID = clean.get("SOPInstanceUID", "")
    clean.is_little_endian, clean.is_implicit_VR = dataset.is_little_endian, dataset.is_implicit_VR
    clean.preamble = b"\0" * 128


def _clean(dataset: Dataset, remap: Remap, ours: bool) -> Dataset:
    """The attributes that are known to be harmless; items of sequences likewise.

    Args:
        dataset: to copy from.
        remap: for UIDs.
        ours: whether MedGAN wrote its descriptions.
    """
    clean = Dataset()
    for element in dataset:
        if element.keyword in SEQUENCES:
            _keep_items(clean, element, remap, ours)
        elif element.keyword in UIDS:
            clean[element.tag] = pydicom.DataElement(element.tag, "UI", _uids(element.value, remap))
        elif element.keyword in HARMLESS or (ours and element.keyword in DESCRIPTIONS):
            clean[element.tag] = element
    return clean


def _keep_items(clean: Dataset, element: pydicom.DataElement, remap: Remap, ours: bool) -> None:
    """Codes of a hospital's own can name people; only those of public schemes stay."""
    items = [_clean(item, remap, ours and _is_ours(item)) for item in element.value if _is_public(item)]
    kept = [item for item in items if len(item)]
    if kept:
        clean[element.tag] = pydicom.DataElement(element.tag, "SQ", pydicom.Sequence(kept))


def _is_public(item: Dataset) -> bool:
    is_code = "CodeValue" in item or "CodeMeaning" in item
    return not is_code or str(item.get("CodingSchemeDesignator")) in SCHEMES


def _is_ours(item: Dataset) -> bool:
    return str(item.get("Manufacturer", MANUFACTURER)) == MANUFACTURER


def _uids(value: object, remap: Remap) -> object:
    if not value:
        return value
    if isinstance(value, str):
        return UID(value if value.startswith(STANDARD) else remap(str(value)))
    return [_uids(item, remap) for item in value]  # type: ignore[attr-defined]

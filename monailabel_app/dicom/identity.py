"""Who a study is of: looked up when a result goes back, never stored, as names are mended and patients are merged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from monailabel_app.dicom.provenance import Source
from monailabel_app.errors import MedGANError

if TYPE_CHECKING:
    from monailabel_app.dicom.web import Archive

IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
REQUIRED = tuple(k for k in IDENTITY if k not in {"IssuerOfPatientID", "StudyDescription"})


def nobody() -> Dataset:
    """Empty values for all that must be there."""
    return _complete(Dataset())


def identity_of(source: Source, studies: Path, archive: Archive | None) -> Dataset:
    """The patient and visit of a study, from its own files or from the archive.

    Raises:
        MedGANError: `no_identity`, if neither is there any more; and as the archive raises.
    """
    found = _from_file(source, studies / source.file) if source.file else None
    if found is None and archive is not None:
        found = archive.header(source)
    if found is None:
        hint = "Start with --dicomweb, keep the DICOM files, or export it de-identified."
        raise MedGANError("no_identity", f"It is not known any more whose study {source.name} is.", hint)
    return _complete(found)


def _from_file(source: Source, file: Path) -> Dataset | None:
    keys = ["SeriesInstanceUID", "SpecificCharacterSet", *IDENTITY]
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=keys)
    except (OSError, InvalidDicomError):
        return None
    header.decode()
    return header if header.get("SeriesInstanceUID") == source.series.SeriesInstanceUID else None


def _complete(found: Dataset) -> Dataset:
    """Only the identity, in Unicode, with an empty value where DICOM wants one."""
    whole = Dataset()
    whole.SpecificCharacterSet = "ISO_IR 192"
    for keyword in IDENTITY:
        value = found.get(keyword)
        if keyword in REQUIRED or value:
            setattr(whole, keyword, "" if value is None else str(value))
    return whole

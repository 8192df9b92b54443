"""Where a study came from, so that results can go back. What identifies the patient is not kept: see identity.py.

<data>/dicom/<study>.json      UIDs, geometry and technical attributes; readable by the server's user alone
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid
from pydicom.valuerep import DSfloat

from monailabel_app.errors import MedGANError
from trainers.files import atomic_write_json, read_json

FOLDER = "dicom"
SERIES = (
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator", "SOPClassUID",
    "Modality", "BodyPartExamined", "Laterality", "PatientPosition", "BurnedInAnnotation", "LossyImageCompression",
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "MRAcquisitionType",
    "EchoTime", "EchoTrainLength", "RepetitionTime", "InversionTime", "FlipAngle", "MagneticFieldStrength", "KVP",
)  # fmt: skip
SLICE = (
    "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "Rows", "Columns", "SliceThickness", "SpacingBetweenSlices", "NumberOfFrames",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The series that a study was made of.

    Attributes:
        name: the study's id.
        origin: address of the archive; empty for files in the studies' folder.
        file: one of those files, relative to that folder; empty for an archive's.
        series: attributes that all its instances share. slices: those of each, by position.
    """

    name: str
    origin: str
    file: str
    series: Dataset
    slices: list[Dataset]

    @property
    def modality(self) -> str:
        """`MR`, `CT`, …"""
        return str(self.series.get("Modality", ""))

    @property
    def frame_of_reference(self) -> str:
        """Its UID; for a series without one, always the same made-up one."""
        made_up = generate_uid(entropy_srcs=["frame", str(self.series.SeriesInstanceUID)])
        return str(self.series.get("FrameOfReferenceUID") or made_up)


def source_file(data: Path, name: str) -> Path:
    """Where the origin of a study is kept."""
    return data / FOLDER / f"{name}.json"


def save(data: Path, source: Source) -> None:
    """Keeps the origin of a study, closed to other users."""
    folder = data / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    told = {"origin": source.origin, "file": source.file, "series": source.series.to_json_dict()}
    path = source_file(data, source.name)
    atomic_write_json(path, {**told, "slices": [header.to_json_dict() for header in source.slices]})
    path.chmod(0o600)


def load(data: Path, name: str) -> Source:
    """The origin of a study. Raises MedGANError `no_source` if it did not come from DICOM."""
    path = source_file(data, name)
    if not path.exists():
        hint = "Only studies that came from DICOM can give back DICOM; if its files are there, start the server again."
        raise MedGANError("no_source", f"Nothing is known of a DICOM series of study {name!r}.", hint)
    told: dict[str, Any] = read_json(path)
    slices = [dataset_of(header) for header in told["slices"]]
    return Source(name, told["origin"], told["file"], dataset_of(told["series"]), slices)


def dataset_of(told: dict[str, Any]) -> Dataset:
    """A dataset from DICOM JSON, whose decimal numbers fit into the 16 characters that DICOM gives them."""
    dataset = Dataset.from_json(told)
    for element in dataset.iterall():
        if element.VR == "DS" and element.value not in (None, ""):
            values = element.value if isinstance(element.value, MultiValue) else [element.value]
            fitting = [decimal(float(v)) for v in values]
            element.value = fitting if len(fitting) > 1 else fitting[0]
    return dataset


def decimal(value: float) -> DSfloat:
    """A number as DICOM's decimal string, which has at most 16 characters."""
    return DSfloat(value, auto_format=True)

"""An image that a model made as a DICOM series of its own, beside the one that it was made of."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from monailabel_app.dicom.codes import coded
from monailabel_app.dicom.geometry import is_multiframe, nearest_slice
from monailabel_app.dicom.maker import LONGEST, MANUFACTURER, Maker
from monailabel_app.dicom.provenance import Source, decimal
from monailabel_app.errors import MedGANError
from trainers.data.volumes import LPS_TO_RAS, Volume
from trainers.monitor import Monitor

CLASSES = {"MR": MRImageStorage, "CT": CTImageStorage}
SERIES_NUMBER = 9100
LEVELS = 65535  # of 16 bits
PROCESSING = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
OF_PATIENT = ("PositionReferenceIndicator", "PatientPosition", "BodyPartExamined", "Laterality")
OF_MR: dict[str, Any] = {
    "ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "",
    "RepetitionTime": "", "EchoTime": "", "EchoTrainLength": "", "MagneticFieldStrength": None, "FlipAngle": None,
    "InversionTime": None,
}  # fmt: skip
OF_CT: dict[str, Any] = {"KVP": "", "AcquisitionNumber": ""}


@dataclass(frozen=True)
class Stored:
    """How voxels become 16-bit whole numbers; the real ones are `slope * stored + intercept`."""

    dtype: type[np.integer[Any]]
    slope: float = 1.0
    intercept: float = 0.0

    def of(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The whole numbers for some voxels."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return array.astype(self.dtype)
        steps = np.rint((array.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(steps, 0, LEVELS).astype(self.dtype)


def write_series(
    folder: Path,
    source: Source,
    who: Dataset,
    image: Volume,
    maker: Maker,
    modality: str,
    monitor: Monitor | None = None,
) -> list[Path]:
    """Writes a derived series, one file a slice along the image's third axis.

    Args:
        folder: where to.
        source: what the image was made of.
        who: its patient and visit.
        image: on a grid of its own, in the space of the source.
        maker: the model.
        modality: of what the image shows, `MR` or `CT`.
        monitor: hears how far it is, and can cancel it between two slices.

    Returns:
        The files, by position.

    Raises:
        MedGANError: `cannot_process`, for another modality.
    """
    if modality not in CLASSES:
        raise MedGANError("cannot_process", f"An image of modality {modality!r} cannot be exported, only MR and CT.")
    stored, common = storage_of(image.array), _common(source, who, maker, modality)
    files, heard = [], monitor or Monitor()
    for index in range(image.shape[2]):
        heard.check()
        heard.report(progress=index / image.shape[2])
        made = _slice(common, source, image, stored, index)
        files.append(folder / f"{index + 1:05}.dcm")
        pydicom.dcmwrite(files[-1], made, write_like_original=False)
    return files


def storage_of(array: npt.NDArray[Any]) -> Stored:
    """Whole numbers that fit are kept as they are; others get 65536 steps between the least and the greatest."""
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind in "iub" and ((low >= -32768 and high <= 32767) or (low >= 0 and high <= LEVELS)):
        return Stored(np.int16 if high <= 32767 else np.uint16)
    return Stored(np.uint16, float(decimal(max((high - low) / LEVELS, 1e-12))), float(decimal(low)))


def _common(source: Source, who: Dataset, maker: Maker, modality: str) -> Dataset:
    """What all slices share."""
    made = Dataset()
    made.update(who)
    made.StudyInstanceUID, made.SeriesInstanceUID = source.series.StudyInstanceUID, generate_uid()
    made.SOPClassUID, made.Modality, made.SeriesNumber = CLASSES[modality], modality, SERIES_NUMBER
    for key in OF_PATIENT:
        if key in source.series:
            made[key] = source.series[key]
    burned = str(source.series.get("BurnedInAnnotation", "")).upper() == "YES"
    made.BurnedInAnnotation = "YES" if burned else "NO"  # what is written into the source may still be legible
    made.FrameOfReferenceUID = source.frame_of_reference
    if "PositionReferenceIndicator" not in made:
        made.PositionReferenceIndicator = ""
    made.RescaleType = "HU" if maker.units == "HU" else "US"
    _technical(made, source, modality)
    _marks(made, maker)
    return made


def _technical(made: Dataset, source: Source, modality: str) -> None:
    """What the modality's module wants; from the source only if it is of the same modality."""
    for key, default in (OF_MR if modality == "MR" else OF_CT).items():
        value = source.series.get(key) if source.modality == modality else None
        if value is not None or default is not None:
            setattr(made, key, default if value is None else value)
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER" if modality == "MR" else "AXIAL"]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15


def _marks(made: Dataset, maker: Maker) -> None:
    """Nobody who looks at the series can take it for an acquired one."""
    now = datetime.datetime.now()
    made.SeriesDescription = maker.series_description
    made.DerivationDescription = (
        f"{maker.told} by MedGAN with {maker.model} {maker.version}. Not acquired by a scanner."
    )
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, maker.model[:LONGEST]
    made.SoftwareVersions = maker.software
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.ContributingEquipmentSequence = [_equipment(maker, now)]


def _equipment(maker: Maker, now: datetime.datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(PROCESSING)]
    item.Manufacturer, item.ManufacturerModelName = MANUFACTURER, maker.model[:LONGEST]
    item.SoftwareVersions = maker.software
    item.ContributionDateTime, item.ContributionDescription = now.strftime("%Y%m%d%H%M%S"), maker.told
    return item


def _slice(common: Dataset, source: Source, image: Volume, stored: Stored, index: int) -> Dataset:
    made = Dataset()
    made.update(common)
    made.SOPInstanceUID, made.InstanceNumber = generate_uid(), index + 1
    _geometry(made, image, index)
    _pixels(made, stored, image.array[:, :, index])
    made.SourceImageSequence = [_reference(source, made)]
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = (
        made.SOPClassUID,
        made.SOPInstanceUID,
    )
    made.is_little_endian, made.is_implicit_VR = True, False
    return made


def _geometry(made: Dataset, image: Volume, index: int) -> None:
    lps = LPS_TO_RAS @ image.affine
    along, spacing = lps[:3, :3] / image.spacing, image.spacing
    place = lps[:3, 3] + index * lps[:3, 2]
    made.ImagePositionPatient = [decimal(v) for v in place]
    made.ImageOrientationPatient = [decimal(v) for v in (*along[:, 0], *along[:, 1])]
    made.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
    made.SliceThickness = made.SpacingBetweenSlices = decimal(spacing[2])
    made.SliceLocation = decimal(float(place @ np.cross(along[:, 0], along[:, 1])))


def _pixels(made: Dataset, stored: Stored, voxels: npt.NDArray[Any]) -> None:
    made.Columns, made.Rows = voxels.shape
    made.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    made.RescaleSlope, made.RescaleIntercept = decimal(stored.slope), decimal(stored.intercept)
    made.PixelData = np.ascontiguousarray(stored.of(voxels).T).tobytes()


def _reference(source: Source, made: Dataset) -> Dataset:
    """The source's slice that is nearest to this one."""
    place = np.array([float(v) for v in made.ImagePositionPatient])
    nearest = source.slices[0 if is_multiframe(source.slices) else nearest_slice(source.slices, place)]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = nearest.SOPClassUID, nearest.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [coded(SOURCE_IMAGE)]
    return item

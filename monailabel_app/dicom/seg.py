"""A label as a DICOM segmentation of the series that its study was made of."""

from __future__ import annotations

import warnings
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from skimage.color import rgb2lab

from monailabel_app import __version__
from monailabel_app.dicom.codes import anatomy, coded
from monailabel_app.dicom.geometry import is_multiframe, slice_step, stack_affine
from monailabel_app.dicom.identity import nobody
from monailabel_app.dicom.maker import LONGEST, MANUFACTURER, UNKNOWN, Maker
from monailabel_app.dicom.provenance import Source, decimal
from monailabel_app.errors import MedGANError
from trainers.data.volumes import Header, Volume, same_grid

SERIES_NUMBER = 9000  # far above what scanners use
AI_FAMILY = Code("123110", "DCM", "Artificial Intelligence")
NO_SERIAL = "0"


def segmentation(source: Source, who: Dataset, label: Volume, maker: Maker) -> Segmentation:
    """One segment for each value that the label has.

    Args:
        source: the series.
        who: its patient and visit.
        label: on the study's grid.
        maker: what made it, with the names and colours of its values.

    Raises:
        MedGANError: `wrong_labels`, for an empty label; `wrong_geometry`, for one on another grid; `cannot_process`,
            for a study made of one enhanced multi-frame object.
    """
    _check(source, label)
    values = [int(v) for v in np.unique(label.array) if v]
    if not values:
        raise MedGANError("wrong_labels", "The label is empty: there is nothing to export.")
    described = [_segment(n, value, maker) for n, value in enumerate(values, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote names that are not quite as DICOM wants them
        made = Segmentation(
            source_images=_images(source),
            pixel_array=_numbered(label.array, values),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=hd.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=(maker.model or MANUFACTURER)[:LONGEST],
            software_versions=MANUFACTURER,
            device_serial_number=NO_SERIAL,
            content_description=maker.told,
            content_label="SEGMENTATION",
            series_description=maker.series_description,
        )
    return _completed(made, who, maker)


def _check(source: Source, label: Volume) -> None:
    if is_multiframe(source.slices):
        hint = "Its labels can be downloaded as NIfTI; images can be exported."
        raise MedGANError("cannot_process", "The study is one enhanced multi-frame object.", hint)
    shape = (int(source.slices[0].Columns), int(source.slices[0].Rows), len(source.slices))
    if not same_grid(label, Header(shape, stack_affine(source.slices), "", 1, 0), tolerance_mm=0.05):
        raise MedGANError("wrong_geometry", "The label does not lie on the series that the study was made of.")


def _images(source: Source) -> list[Dataset]:
    """The source's instances without their pixels, as far as a segmentation needs them.

    The patient is put in afterwards: highdicom refuses birth dates and sexes that real archives have.
    """
    images, thickness = [], decimal(float(np.linalg.norm(slice_step(source.slices))))
    for header in source.slices:
        image = Dataset()
        for part in (source.series, header, nobody()):
            image.update(part)
        image.FrameOfReferenceUID = source.frame_of_reference
        image.SliceThickness = header.get("SliceThickness") or thickness
        images.append(image)
    return images


def _numbered(array: npt.NDArray[Any], values: list[int]) -> npt.NDArray[Any]:
    """(slice, row, column); DICOM numbers segments from 1 without gaps."""
    numbers = np.zeros(max(values) + 1, np.uint8 if len(values) < 256 else np.uint16)
    numbers[values] = np.arange(1, len(values) + 1)
    return np.ascontiguousarray(numbers[array].transpose(2, 1, 0))


def _segment(number: int, value: int, maker: Maker) -> SegmentDescription:
    name = next((name for name, v in maker.labels.items() if v == value), f"label {value}")
    codes = anatomy(name, maker.body_part)
    segment = SegmentDescription(
        segment_number=number,
        segment_label=name[:LONGEST],
        segmented_property_category=codes.category,
        segmented_property_type=codes.type,
        algorithm_type=_algorithm_type(maker),
        algorithm_identification=_algorithm(maker) if maker.model else None,
        anatomic_regions=[codes.region] if codes.region else None,
    )
    segment.SegmentDescription = f"{maker.told}; label value {value}"
    if codes.modifier:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(codes.modifier)]
    if name in maker.colors:
        segment.RecommendedDisplayCIELabValue = cielab(maker.colors[name])
    return segment


def _algorithm_type(maker: Maker) -> SegmentAlgorithmTypeValues:
    if not maker.model:
        return SegmentAlgorithmTypeValues.MANUAL
    return SegmentAlgorithmTypeValues.SEMIAUTOMATIC if maker.corrected else SegmentAlgorithmTypeValues.AUTOMATIC


def _algorithm(maker: Maker) -> hd.AlgorithmIdentificationSequence:
    version = (maker.version or UNKNOWN)[:LONGEST]
    return hd.AlgorithmIdentificationSequence(maker.model[:LONGEST], AI_FAMILY, version, f"MedGAN {__version__}")


def cielab(color: Any) -> list[int]:
    """Red, green, blue (0 to 1) as DICOM's scaled CIELab (PS3.3 C.10.7.1.1)."""
    light, a, b = rgb2lab(np.clip(np.asarray(color, float), 0, 1)[None, None])[0, 0]
    return [round(light / 100 * 65535), round((a + 128) * 257), round((b + 128) * 257)]


def _completed(made: Segmentation, who: Dataset, maker: Maker) -> Segmentation:
    """What highdicom leaves out: text in Unicode, and the rest of the patient and visit."""
    made.update(who)
    setattr(made, "SoftwareVersions", maker.software)  # noqa: B010 - highdicom says that it is one text
    made.BurnedInAnnotation = "NO"
    return made

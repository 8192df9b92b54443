"""The frames of an enhanced multi-frame object as the headers of slices, so that one check serves both."""

from __future__ import annotations

from pydicom.dataset import Dataset

from monailabel_app.errors import MedGANError

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
DETECTORS = "DetectorInformationSequence"  # nuclear medicine has one place for all frames
GROUPS = (SHARED, PER_FRAME, DETECTORS)
FIELDS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""What is asked of a frame, and the functional group that tells it."""


def frames_of(header: Dataset) -> list[Dataset]:
    """One header a frame, in the order in which they are stored; empty for objects that tell one place for all.

    Args:
        header: with GROUPS.

    Raises:
        MedGANError: `cannot_process`, for frames without a place, such as those of a film, or with scales of their own.
    """
    groups = list(header.get(PER_FRAME) or [])
    if not groups:
        if not header.get(DETECTORS):
            raise MedGANError("cannot_process", "Its frames have no positions in space, so it is no volume.")
        return []
    if len(groups) != int(header.NumberOfFrames):
        raise MedGANError("cannot_process", f"It has {header.NumberOfFrames} frames, and places of {len(groups)}.")
    shared = (header.get(SHARED) or [Dataset()])[0]
    frames = [_frame(header, group, shared) for group in groups]
    if len({(str(f.get("RescaleSlope", 1)), str(f.get("RescaleIntercept", 0))) for f in frames}) > 1:
        hint = "Export it as a classic series, one file a slice."
        raise MedGANError("cannot_process", "Its frames have rescale slopes or intercepts of their own.", hint)
    return frames


def _frame(header: Dataset, own: Dataset, shared: Dataset) -> Dataset:
    frame = Dataset()
    frame.Rows, frame.Columns = header.Rows, header.Columns
    for keyword, group in FIELDS.items():
        told = (own.get(group) or shared.get(group) or [Dataset()])[0]
        if keyword in told:
            frame[keyword] = told[keyword]
    return frame

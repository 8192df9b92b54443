"""Slices of a DICOM series: where they lie, and their voxels in one number type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk

from trainers.data.instances import UNREADABLE
from trainers.data.suv import series_factor

Array = npt.NDArray[np.float64]
SAME_PLACE = 1e-3  # mm
UNEVEN = 0.05  # of the distance between slices
DRIFT = 0.1  # mm, off the line through the slices
TURNED = 1e-4  # of direction cosines
PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
INTEGERS = frozenset([sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt16, sitk.sitkUInt32, sitk.sitkInt32])


def read_slices(files: Sequence[Path | str]) -> sitk.Image:
    """Reads slices in the order given, in a number type that holds the values of all of them.

    Each slice has a rescale slope and intercept of its own, and with them a number type. ITK takes that of the first
    one for all: values of others would be cut to whole numbers, or wrap around. PET becomes SUV if its headers tell
    enough (see `trainers.data.suv`).

    Raises:
        RuntimeError: a file cannot be read.
    """
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        reader.SetOutputPixelType(sitk.sitkInt32 if kinds <= INTEGERS else sitk.sitkFloat32)
    if (factor := series_factor(files)) == 1:
        return reader.Execute()
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return reader.Execute() * factor


def stack_fault(places: Array, normal: Array) -> str:
    """Why slices are no volume, in one sentence; empty if they lie in one row, evenly and straight above each other.

    Args:
        places: (slice, 3), of the first pixel of each, mm.
        normal: of all slices, length 1.
    """
    if len(places) < 2:
        return ""
    steps = np.diff(places @ normal)
    usual = float(np.median(np.abs(steps)))
    if np.abs(steps).min() < SAME_PLACE:
        return "Several of its images lie at one place: time points, echoes or copies in one series."
    if not (np.all(steps > 0) or np.all(steps < 0)):
        return "Its images are not in one row."
    if wide := np.flatnonzero(np.abs(steps) > 1.5 * usual).tolist():
        return f"It has gaps: images are missing after image {wide[0] + 1} of {len(places)}."
    if np.abs(np.abs(steps) - usual).max() > UNEVEN * usual:
        return "Its images are unevenly spaced."
    line, way = np.linspace(places[0], places[-1], len(places)), places[-1] - places[0]
    aside = float(np.linalg.norm(way - (way @ normal) * normal))
    if aside > DRIFT or np.abs(places - line).max() > max(DRIFT, UNEVEN * usual):
        return "Its images do not lie straight above each other, as with a tilted gantry."
    return ""


def series_fault(files: Sequence[Path | str]) -> str:
    """Why the files of a series are no volume, in one sentence; empty if they are one, or tell no places in space."""
    if len(files) < 2:
        return ""
    try:
        headers = [pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(PLACE)) for file in files]
        if any(not header.get(key) for header in headers for key in PLACE):
            return ""
        places = np.array([[float(v) for v in header.ImagePositionPatient] for header in headers])
        turned = np.array([[float(v) for v in header.ImageOrientationPatient] for header in headers])
    except UNREADABLE:
        return "Its places in space cannot be read."
    if np.abs(turned - turned[0]).max() > TURNED:
        return "Its images differ in direction: it is a localizer, or several volumes."
    return stack_fault(places, np.asarray(np.cross(turned[0, :3], turned[0, 3:])))


def _kind(file: Path | str) -> int:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return int(reader.GetPixelIDValue())

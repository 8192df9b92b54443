"""Where the images of a series lie, and whether they make up one volume. Headers are in LPS mm, affines take to RAS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monailabel_app.errors import MedGANError
from trainers.data.slices import stack_fault
from trainers.data.volumes import LPS_TO_RAS

Array = npt.NDArray[np.float64]
PLANE = ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


def is_multiframe(slices: Sequence[Dataset]) -> bool:
    """Whether the series is one enhanced object with all slices in it."""
    return len(slices) == 1 and int(slices[0].get("NumberOfFrames") or 1) > 1


def check_stack(slices: Sequence[Dataset]) -> None:
    """Raises MedGANError `cannot_process` unless the slices are parallel, evenly spaced and complete.

    Args:
        slices: headers by position; of an enhanced multi-frame object, those of its frames.
    """
    if any(not header.get(key) for header in slices for key in ("ImagePositionPatient", *PLANE)):
        raise _refusal("It has no positions in space, so it is no volume.")
    if any(not _same_plane(header, slices[0]) for header in slices):
        raise _refusal("Its images differ in size or direction: it is a localizer, or several volumes.")
    if fault := stack_fault(_positions(slices), _normal(slices[0])):
        raise _refusal(fault)


def stack_affine(slices: Sequence[Dataset]) -> Array:
    """The affine from (column, row, slice) to RAS mm of slices that passed `check_stack`."""
    first, rows = _positions(slices)[0], _orientation(slices[0])
    row_step, column_step = map(float, slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows[0] * column_step, rows[1] * row_step
    affine[:3, 2], affine[:3, 3] = slice_step(slices), first
    return np.asarray(LPS_TO_RAS @ affine)


def slice_step(slices: Sequence[Dataset]) -> Array:
    """From one slice to the next, LPS mm; for one slice alone, its thickness along the normal."""
    places = _positions(slices)
    if len(places) == 1:
        return _normal(slices[0]) * float(slices[0].get("SliceThickness") or 1.0)
    return np.asarray((places[-1] - places[0]) / (len(places) - 1))


def nearest_slice(slices: Sequence[Dataset], place: Array) -> int:
    """Index of the slice whose plane is nearest to a point in LPS mm."""
    return int(np.abs((_positions(slices) - place) @ _normal(slices[0])).argmin())


def _same_plane(a: Dataset, b: Dataset) -> bool:
    same = [np.allclose(np.asarray(a[key].value, float), np.asarray(b[key].value, float), atol=1e-4) for key in PLANE]
    return all(same)


def _positions(slices: Sequence[Dataset]) -> Array:
    return np.array([[float(v) for v in header.ImagePositionPatient] for header in slices])


def _orientation(header: Dataset) -> Array:
    """(2, 3): along a row, and along a column."""
    return np.array([float(v) for v in header.ImageOrientationPatient]).reshape(2, 3)


def _normal(header: Dataset) -> Array:
    return np.asarray(np.cross(*_orientation(header)))


def _refusal(message: str) -> MedGANError:
    return MedGANError("cannot_process", message)

"""What a reader is, and what readers share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.data.cases import CasesError
from trainers.data.sets import DataSet, Sample
from trainers.data.volumes import VolumeError, read_label, read_volume

RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class Reader:
    """One way in which a data set can lie on the disk.

    Attributes:
        open: path to the set, with the reader's own options as keywords.
        recognise: tells, without reading images, whether a path is laid out so.
        layout: a line for people.
        general: asked only where no other reader recognises the path.
    """

    open: Callable[..., DataSet]
    recognise: Callable[[Path], bool]
    layout: str
    general: bool = False


def read_pair(image: Path, label: Path | None = None) -> Sample:
    """Reads one volume, (1, x, y, z), and the label map on its grid. Raises VolumeError, naming the file."""
    with naming(image):
        volume = read_volume(image)
    array = volume.array[np.newaxis].astype(np.float32)
    if label is None:
        return Sample(array, None, volume.affine)
    with naming(label):
        return Sample(array, read_label(label, like=volume).array, volume.affine)


class SampleGrid:
    """The grid of a sample that has an affine."""

    def __init__(self, sample: Sample) -> None:
        assert sample.affine is not None
        self.shape: tuple[int, ...] = sample.image.shape[1:]
        self.affine = sample.affine


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the path before the message of every VolumeError that is raised inside."""
    try:
        yield
    except VolumeError as error:
        raise VolumeError(error.code, f"{path}: {error.message}", error.hint) from error


def patient_of(name: str, pattern: str | None) -> str:
    """The patient in a file's name: the first group of the regular expression, its whole match, or all of the name.

    Raises:
        CasesError: the pattern is not a regular expression or is not found in the name.
    """
    if pattern is None:
        return name
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise CasesError(f"patient_pattern {pattern!r} is not a regular expression: {error}.") from error
    if found is None:
        raise CasesError(f"patient_pattern {pattern!r} is not found in {name!r}. Give one that fits every name.")
    return str(found.group(1) if found.re.groups else found.group())


def to_xy(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A picture or stack as libraries store it, (…, row, column), as (column, row, …): x to the right, y down."""
    return rows.transpose()

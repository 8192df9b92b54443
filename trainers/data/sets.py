"""Data sets as training sees them: entries of known patients, each read only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES, PATIENTS = "classes", "patients"
"""What sub-folders of a folder of images may be."""


@dataclass(frozen=True)
class Sample:
    """One image in memory.

    Attributes:
        image: (channel, x, y) or (channel, x, y, z), in the data set's units; of a picture, x goes right and y down.
        label: integer label map without the channel axis, or None.
        affine: 4 x 4, voxel index to RAS mm; None for pictures that have no place in a patient.
    """

    image: npt.NDArray[np.float32]
    label: npt.NDArray[Any] | None = None
    affine: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Entry:
    """One image of a data set, not read yet.

    Attributes:
        id: unique in the set. patient: entries of one patient are never in two parts of a split.
        read: gives the image; can be pickled, for loader processes to call it: a function, or a `partial` of one with
            the reader's options, by which the cache tells one way of reading from another. Raises VolumeError, naming
            the file.
        target: index into the set's `classes`, or None.
        details: what the set tells of the image beside that, e.g. a nodule's diameter in mm.
        files: what `read` reads; the cache sees by their size and time that an image has changed.
    """

    id: str
    patient: str
    read: Callable[[], Sample]
    target: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A list of entries and what they have in common.

    Attributes:
        name: for people. entries: in a fixed order.
        channels: what each channel of an image is, e.g. `("t1", "t1c", "t2", "flair")`.
        labels: label name to value. classes: names of the values of `Entry.target`.
        dimensions: 2 or 3. units: of intensities: `HU`, `SUV`, `0-255` or `arbitrary`.
        parts: the set's own parts by name, as lists of entry ids, where it comes with some (train, val, test).
        notes: what people should know of how it was read, e.g. how many images were left out and why.
        patient_pattern: the regular expression that tells its patients; empty if none does.
        sub_folders: what its sub-folders were said to be, `classes` or `patients`; empty if nobody said.
    """

    name: str
    entries: list[Entry]
    channels: tuple[str, ...] = ("image",)
    labels: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    dimensions: int = 3
    units: str = "arbitrary"
    parts: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    patient_pattern: str = ""
    sub_folders: str = ""

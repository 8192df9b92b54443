"""DICOM files looked at before GDCM is: it takes as much memory as a damaged length asks for."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError

UNREADABLE = (InvalidDicomError, OSError, EOFError, AttributeError, LookupError, ValueError, TypeError,
              ArithmeticError, NotImplementedError, struct.error)  # fmt: skip
"""What pydicom raises for files that are damaged: some when they are read, some when a value is looked at."""
UNDEFINED = 0xFFFFFFFF
PREAMBLE, MAGIC = 128, b"DICM"


def damaged_instance(folder: Path) -> Path | None:
    """The first file of a folder that is DICOM, but claims values that are longer than it is; None if there is none."""
    return next((path for path in sorted(folder.iterdir()) if path.is_file() and _is_damaged(path)), None)


def _is_damaged(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.read(PREAMBLE + len(MAGIC))[PREAMBLE:] != MAGIC:
            return False
    size = path.stat().st_size
    try:
        header = pydicom.dcmread(path, defer_size=1)  # no value is read, however long it claims to be
    except UNREADABLE:
        return True
    values = (value for value in header.values() if isinstance(value, RawDataElement))
    return any(value.length != UNDEFINED and value.value_tell + value.length > size for value in values)

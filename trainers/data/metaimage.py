"""Headers of MetaImage files, looked at before ITK is: its reader trusts them, and ends the process for some.

The format: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
from pathlib import Path

HEADER_BYTES = 1 << 16
LONGEST_LINE = 1024
LONGEST_NAME = 80
MOST_DIMENSIONS = 4
MOST_CHANNELS = 16
LAST = "ElementDataFile"
FLAGS = ("BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "ElementByteOrderMSB")
COUNTS = {"HeaderSize": 1 << 16, "CompressedDataSize": 1 << 40, "ElementNumberOfChannels": MOST_CHANNELS}
VECTORS = ("DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation")
MATRICES = ("TransformMatrix", "Rotation", "Orientation")
LARGEST = 1e6  # of a matrix of directions, whose numbers are 1 at most: ITK never ends to decompose one with 1e308


def fault(path: Path) -> str:
    """What is wrong with the header of a `.mha` or `.mhd` file; empty if ITK can be given it."""
    with path.open("rb") as stream:
        text = stream.read(HEADER_BYTES).decode("latin-1")
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, mark, value = (part.strip() for part in line.partition("="))
        if not mark or not 0 < len(name) <= LONGEST_NAME or len(line) > LONGEST_LINE or not name.isascii():
            return "a line is no field"
        if name in fields:
            return f"{name} is there twice"
        fields[name] = value
        if name == LAST:
            return _fault_of(fields)
    return f"there is no {LAST}"


def _fault_of(fields: dict[str, str]) -> str:
    dimensions = _number(fields.get("NDims", ""))
    if dimensions not in range(1, MOST_DIMENSIONS + 1) or next(iter(fields)) not in ("ObjectType", "NDims"):
        return "NDims is wrong"
    lengths = {**dict.fromkeys(VECTORS, int(dimensions)), **dict.fromkeys(MATRICES, int(dimensions) ** 2)}
    for name, value in fields.items():
        numbers = [_number(part) for part in value.split()]
        if name in lengths and (len(numbers) != lengths[name] or not all(map(math.isfinite, numbers))):
            return f"{name} is not {lengths[name]} numbers"
        if name in MATRICES and max(map(abs, numbers)) > LARGEST:
            return f"{name} has no directions"
        if name in COUNTS and not (len(numbers) == 1 and -1 <= numbers[0] <= COUNTS[name]):
            return f"{name} is wrong"
        if name in FLAGS and value not in ("True", "False"):
            return f"{name} is neither True nor False"
    return "" if all(_number(n) >= 1 for n in fields.get("DimSize", "0").split()) else "DimSize is wrong"


def _number(text: str) -> float:
    """NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan

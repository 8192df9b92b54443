"""What an image file's header tells that Slicer does not: how it counts its slices, and whether a model made it.

Slicer turns every image round to a right-handed grid while it reads: for a file with a left-handed one the order of the
slices is reversed. A label for such a file has to be turned back before it is sent, so the file's header is asked.
"""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path
from typing import Dict, List

import numpy as np

NIFTI_BYTES = 348
TEXT_BYTES = 64 * 1024
DESCRIPTION = slice(148, 228)
"""Where a NIfTI file has its note."""
SYNTHETIC = "MedGAN.Synthetic"
NO = ("", "false", "no", "0")
ALTERED = "MedGAN.Altered"
FIELD = re.compile(r"(?m)^MedGAN\.(Synthetic|Altered|HeatMap|Model|Version|Seed|Class) *:=(.*)$")
NOTE = re.compile(r"MedGAN synthetic(?:: (?P<model>\S+) (?P<version>\S+) seed (?P<seed>\d+)(?: (?P<class>.+))?)?")
ALTERED_NOTE = re.compile(r"MedGAN altered(?:: (?P<model>\S+) (?P<version>\S+) strength)?")
"""The note is cut after 79 characters, and with it perhaps a long name; the mark is at its beginning."""
LEFT_HANDED_SPACES = ("left-anterior-superior", "las", "scanner-xyz-left-handed")
"""NRRD's names of coordinate systems that are mirrored."""


def is_left_handed(path: Path) -> bool:
    """Whether the grid of a NIfTI, NRRD or MetaImage file is left-handed in RAS millimetres."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _nifti(_head(path, NIFTI_BYTES))
    text = _head(path, TEXT_BYTES).decode("latin-1")
    if name.endswith(".nrrd"):
        return _nrrd(_fields(text.split("\n\n")[0].replace("\r", ""), ":"))
    return _meta_image(_fields(text, "=")) if name.endswith((".mha", ".mhd")) else False


def marks(path: Path) -> Dict[str, str]:
    """Return the mark of a synthetic image in a file's header, as node attributes `MedGAN.…`; empty without one.

    An image that a GAN has altered counts as synthetic: what it shows may be invented. NRRD has a field for each mark,
    NIfTI has a note in its description, see docs/api.md.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            return _noted(_head(path, NIFTI_BYTES)[DESCRIPTION].decode("latin-1"))
        if name.endswith((".nrrd", ".nhdr")):
            return _marked(_head(path, TEXT_BYTES).decode("utf-8", "replace").replace("\r", "").split("\n\n")[0])
    except (OSError, EOFError):
        pass  # the file is gone or damaged: nobody can tell
    return {}


def _marked(text: str) -> Dict[str, str]:
    found = {f"MedGAN.{name}": value.strip() for name, value in FIELD.findall(text)}
    marked = any(found.get(name, "").lower() not in NO for name in (SYNTHETIC, ALTERED))
    return {**found, SYNTHETIC: "true"} if marked else {}


def _noted(note: str) -> Dict[str, str]:
    text = note.split("\0")[0]
    found = NOTE.match(text) or ALTERED_NOTE.match(text)
    if not found:
        return {}
    details = {f"MedGAN.{name.capitalize()}": text.strip() for name, text in found.groupdict().items() if text}
    return {SYNTHETIC: "true", **details}


def _head(path: Path, size: int) -> bytes:
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as packed:
            return packed.read(size)
    with path.open("rb") as file:
        return file.read(size)


def _nifti(head: bytes) -> bool:
    """Read the sform, or else the sign of the qform (NIfTI-1 standard, `qfac`)."""
    order = "<" if struct.unpack_from("<i", head)[0] == NIFTI_BYTES else ">"
    qform, sform = struct.unpack_from(f"{order}hh", head, 252)
    if sform > 0:
        rows = struct.unpack_from(f"{order}12f", head, 280)
        return bool(np.linalg.det(np.reshape(rows, (3, 4))[:, :3]) < 0)
    return bool(qform > 0 and struct.unpack_from(f"{order}f", head, 76)[0] < 0)


def _nrrd(fields: Dict[str, str]) -> bool:
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    directions = [_numbers(vector) for vector in vectors]
    mirrored = fields.get("space", "").lower() in LEFT_HANDED_SPACES
    return _negative([value for vector in directions for value in vector]) != mirrored


def _meta_image(fields: Dict[str, str]) -> bool:
    return _negative(_numbers(fields.get("transformmatrix", "")))


def _fields(text: str, mark: str) -> Dict[str, str]:
    pairs = (line.split(mark, 1) for line in text.split("\n") if mark in line and not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, value in pairs}


def _numbers(text: str) -> List[float]:
    return [float(number) for number in re.findall(r"[-+.\deE]+", text)]


def _negative(values: List[float]) -> bool:
    return len(values) == 9 and bool(np.linalg.det(np.reshape(values, (3, 3))) < 0)

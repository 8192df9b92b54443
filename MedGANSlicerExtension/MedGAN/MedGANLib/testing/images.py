"""A synthetic volume, and the two file formats of the test server. numpy only; coordinates are RAS millimetres."""

from __future__ import annotations

import gzip
import struct
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

NUMPY_TO_NRRD = {
    "int16": "short",
    "uint8": "unsigned char",
    "float32": "float",
    "uint16": "unsigned short",
    "int32": "int",
}
NRRD_TO_NUMPY = {
    **{name: numpy_name for numpy_name, name in NUMPY_TO_NRRD.items()},
    "int16": "int16",
    "uint8": "uint8",
    "double": "float64",
    "signed short": "int16",
    "uchar": "uint8",
    "uint16": "uint16",
}
BRIGHT = 700
"""Voxels above this value belong to the phantom's curved body."""


def phantom(seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """Returns a synthetic volume: an egg with a bright curved body inside, and noise.

    Args:
        seed: Shifts the body a little, so that several studies differ.

    Returns:
        Voxels (k, j, i) as int16, and the 4x4 matrix from (i, j, k) to RAS millimetres (1.0 x 1.0 x 1.2 mm, oblique).
    """
    random = np.random.default_rng(seed)
    shift = random.uniform(-2, 2, 3)
    z, y, x = np.meshgrid(*[np.arange(n, dtype=float) for n in (40, 56, 48)], indexing="ij")
    egg = ((x - 24) / 21) ** 2 + ((y - 28) / 25) ** 2 + ((z - 20) / 17) ** 2 < 1
    bend = 4 * np.sin((y - 12) / 11)
    body = ((x - 24 - bend - shift[0]) / 5) ** 2 + ((y - 28 - shift[1]) / 16) ** 2 + (
        (z - 20 - shift[2]) / 4.5
    ) ** 2 < 1
    voxels = 300.0 * egg + 500.0 * body + random.normal(0, 18, egg.shape)
    return np.clip(voxels, 0, None).astype(np.int16), _phantom_affine()


def _phantom_affine() -> np.ndarray:
    angle = np.deg2rad(9)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.0, 1.2])
    affine[:3, 3] = -affine[:3, :3] @ np.array([24, 28, 20])
    return affine


def write_nrrd(voxels: np.ndarray, affine: np.ndarray, marks: Optional[Mapping[str, str]] = None) -> bytes:
    """Returns a NRRD file (raw, little endian) of voxels (k, j, i) with their RAS matrix, and key/value pairs."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    vectors = " ".join(_vector(lps[:3, axis]) for axis in range(3))
    lines = [
        "NRRD0004",
        f"type: {NUMPY_TO_NRRD[voxels.dtype.name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in voxels.shape[::-1]),
        f"space directions: {vectors}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {_vector(lps[:3, 3])}",
        *[f"{name}:={value}" for name, value in (marks or {}).items()],
    ]
    return ("\n".join(lines) + "\n\n").encode() + np.ascontiguousarray(voxels).tobytes()


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def read_nrrd(data: bytes) -> Tuple[np.ndarray, np.ndarray]:
    """Reads a NRRD file (raw or gzip); returns voxels (k, j, i) and their RAS matrix.

    Raises:
        ValueError: it is not a 3D NRRD file.
    """
    header, _, body = data.partition(b"\n\n")
    if not header.startswith(b"NRRD"):
        raise ValueError("not a NRRD file")
    fields: Dict[str, str] = {}
    for line in header.decode().splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if colon:
            fields[name.strip()] = value.strip()
    sizes = [int(n) for n in fields["sizes"].split()]
    kind = np.dtype(NRRD_TO_NUMPY[fields["type"]]).newbyteorder("<")
    raw = gzip.decompress(body) if fields["encoding"] in ("gzip", "gz") else body
    return np.frombuffer(raw, kind, int(np.prod(sizes))).reshape(sizes[::-1]), _nrrd_affine(fields)


def _nrrd_affine(fields: Dict[str, str]) -> np.ndarray:
    columns = [_numbers(v) for v in fields["space directions"].replace(") (", ")|(").split("|")]
    lps = np.eye(4)
    lps[:3, :3] = np.array(columns).T
    lps[:3, 3] = _numbers(fields["space origin"])
    flip = -1.0 if fields["space"] in ("left-posterior-superior", "LPS") else 1.0
    return np.diag([flip, flip, 1.0, 1.0]) @ lps


def _numbers(text: str) -> Any:
    return [float(v) for v in text.strip("() ").split(",")]


def write_nifti_gz(labels: np.ndarray, affine: np.ndarray) -> bytes:
    """Returns a gzipped NIfTI-1 file of a uint8 label map (k, j, i) with its RAS matrix as sform."""
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *labels.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<2f", header, 108, 352, 1)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + b"\0" * 4 + labels.astype(np.uint8).tobytes(), 1)

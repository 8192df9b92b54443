"""NIfTI files with gzip several times faster than zlib's: nibabel knows the format, ISA-L (`isal`) the compression."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

SUFFIXES = (".nii", ".nii.gz")
ERRORS = (ImageFileError, HeaderDataError, HeaderTypeError, WrapStructError)  # of nibabel, for files that are damaged
LEVEL = 1  # of ISA-L, which is twenty times as fast as zlib's usual one; files of images are 4 % larger
SLAB_BYTES = 1 << 20
GZIP = 31  # zlib's number for its largest window with a header of gzip
SCANNER = 1  # NIfTI's code for the coordinates of a scanner, which ITK writes too
KINDS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}  # by the length that a header begins with


class Compressor(Protocol):
    """What zlib and ISA-L call a compression object."""

    def compress(self, data: Any, /) -> bytes:
        """Compressed bytes, as far as there are some by now."""

    def flush(self) -> bytes:
        """The rest."""


def read_array(path: Path) -> npt.NDArray[Any]:
    """The voxels of a file, scaled as its header says. Raises as nibabel, gzip and ISA-L do for damaged files."""
    if path.suffix.lower() != ".gz":
        return np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    with igzip.open(path) as stream:
        start = stream.read(4)
        kind = KINDS.get(int.from_bytes(start, "little")) or KINDS.get(int.from_bytes(start, "big"))
        if kind is None:
            raise ValueError(f"{path.name} has no header of NIfTI")
        stream.seek(0)
        return np.asanyarray(kind.from_stream(stream).dataobj)


def write(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64], notes: str, compress: bool) -> None:
    """Writes voxels (x, y, z) in place; a part at a time, so that it takes no memory.

    Args:
        path: `.nii` or `.nii.gz`; gzip stores voxels as they are unless they are to be compressed.
        array: integers or floats.
        affine: voxel index to RAS mm.
        notes: for the header; cut to 79 characters.
        compress: whether voxels of a `.nii.gz` are compressed.
    """
    header = _header(array, affine, notes)
    with path.open("wb") as file:
        if path.suffix.lower() != ".gz":
            file.writelines(_with(header, array))
            return
        packer: Compressor = (
            isal_zlib.compressobj(LEVEL, wbits=GZIP) if compress else zlib.compressobj(0, zlib.DEFLATED, GZIP)
        )
        for block in _with(header, array):
            file.write(packer.compress(block))
        file.write(packer.flush())


def _header(array: npt.NDArray[Any], affine: npt.NDArray[np.float64], notes: str) -> bytes:
    """The header as ITK writes it: both transforms, in mm."""
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype.newbyteorder("<"))
    header.set_data_shape(array.shape)
    header.set_qform(affine, SCANNER)
    header.set_sform(affine, SCANNER)
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = notes.encode()[:79]
    header["vox_offset"] = len(header.binaryblock) + 4
    return header.binaryblock + bytes(4)  # no extensions


def _with(header: bytes, array: npt.NDArray[Any]) -> Iterator[bytes | memoryview]:
    yield header
    yield from _slabs(array)


def _slabs(array: npt.NDArray[Any]) -> Iterator[memoryview]:
    """Voxels in the file's order, x fastest, some slices at a time; views where memory has that order already."""
    little = array.dtype.newbyteorder("<")
    step = max(1, SLAB_BYTES // max(1, array[..., :1].nbytes))
    for start in range(0, array.shape[2], step):
        slab = array[..., start : start + step].astype(little, order="F", copy=False)
        yield slab.reshape(-1, order="F").data.cast("B")

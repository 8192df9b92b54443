"""Files that clients send: stored under a name of ours, removed when the request is over."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
from starlette.datastructures import UploadFile

from monailabel_app.errors import MedGANError, choices
from trainers.data.volumes import SUFFIXES

HEADER_BYTES = 1 << 16
HDF5 = (".h5", ".hdf5")
HDF5_NAMES = ("kspace", "mask", "ismrmrd_header", "dataset", "dataset/xml", "dataset/data")
"""What is read of such a file."""
HDF5_BYTES = 1 << 31  # of each of them in memory


@contextmanager
def received(
    upload: UploadFile, folder: Path, name: str = "image", suffixes: Sequence[str] = SUFFIXES
) -> Iterator[Path]:
    """Yields a temporary file with what was uploaded, removed afterwards, with all that was put beside it.

    Args:
        upload: the part of the request.
        folder: where temporary files go.
        name: what errors call the file, whose own name may be a patient's.
        suffixes: those that it may have.

    Raises:
        MedGANError: `not_an_image`, for a suffix that is not known, or a header that names another file.
    """
    place = folder / uuid.uuid4().hex
    path = place / f"{name}{suffix_of(upload.filename, suffixes)}"
    place.mkdir()
    try:
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream, 1 << 20)
        _refuse_detached(path)
        yield path
    finally:
        shutil.rmtree(place, ignore_errors=True)


def suffix_of(name: str | None, suffixes: Sequence[str] = SUFFIXES) -> str:
    """The image suffix of a file's name. Raises MedGANError `not_an_image` if it has none that is known."""
    lower = (name or "").lower()
    for suffix in sorted(suffixes, key=len, reverse=True):
        if lower.endswith(suffix):
            return suffix
    raise MedGANError("not_an_image", "The file's name has no known suffix.", f"Send one of {choices(suffixes)}.")


def _refuse_detached(path: Path) -> None:
    """Refuses headers that say that the voxels are in another file, which could be any file of the server."""
    if path.suffix in HDF5:
        is_whole = _hdf5_is_whole(path)
    else:
        with path.open("rb") as stream:
            start = stream.read(HEADER_BYTES)
        is_whole = WHOLE.get(path.suffix, bool)(start or b" ")
    if not is_whole:
        hint = "Save the image as one file, e.g. as .nii.gz."
        raise MedGANError("not_an_image", "The file's header points to voxels in another file, or has no end.", hint)


def _nrrd_is_whole(start: bytes) -> bool:
    """An NRRD header ends with an empty line."""
    end = re.search(rb"\n\r?\n", start)
    return end is not None and not re.search(rb"(?i)data\s*file", start[: end.start()])


def _mha_is_whole(start: bytes) -> bool:
    """A MetaImage header ends with the field that says where the voxels are.

    Its reader passes over other spellings of that field and goes on to the next one, so none may come before.
    """
    before, name, after = (*re.split(rb"(?i)(elementdatafile)", start, maxsplit=1), b"", b"")[:3]
    is_last = before.endswith(b"\n") and name == b"ElementDataFile"
    return is_last and re.match(rb" *= *LOCAL *\r?\n", after) is not None


WHOLE: dict[str, Callable[[bytes], bool]] = {".nrrd": _nrrd_is_whole, ".mha": _mha_is_whole}


def _hdf5_is_whole(path: Path) -> bool:
    """HDF5 has links to other files, virtual datasets and external storage; none may be in what is read.

    Raises:
        MedGANError: `not_an_image`, for a file that is damaged; `too_large`, for one that is far larger than it looks.
    """
    try:
        with h5py.File(path, "r") as file:
            return all(_is_own(file, name) for name in HDF5_NAMES)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MedGANError("not_an_image", "The file is not readable HDF5.", "Export and send it again.") from error


def _is_own(file: h5py.File, name: str) -> bool:
    """Whether something is in the file itself, or not there at all. No link is followed to find out."""
    item: Any = file
    for step in name.split("/"):
        links, key = item.id.links if isinstance(item, h5py.Group) else None, step.encode()
        if links is None or not links.exists(key):
            return True
        if links.get_info(key).type != h5py.h5l.TYPE_HARD:
            return False
        item = item[step]
    return not isinstance(item, h5py.Dataset) or _holds_its_data(item)


def _holds_its_data(data: h5py.Dataset) -> bool:
    if data.size and data.size * data.dtype.itemsize > HDF5_BYTES:
        raise MedGANError("too_large", "The file claims more data than fits.", "Send fewer slices or coils.")
    return not data.external and not data.is_virtual

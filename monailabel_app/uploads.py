"""Files that clients send: stored under a name of ours, removed when the request is over."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

from monailabel_app.errors import MedGANError, choices
from trainers.data.volumes import SUFFIXES

HEADER_BYTES = 1 << 16


@contextmanager
def received(upload: UploadFile, folder: Path, name: str = "image") -> Iterator[Path]:
    """Yields a temporary file with what was uploaded, removed afterwards, with all that was put beside it.

    Args:
        upload: the part of the request.
        folder: where temporary files go.
        name: what errors call the file, whose own name may be a patient's.

    Raises:
        MedGANError: `not_an_image`, for a suffix that is not known, or a header that names another file.
    """
    place = folder / uuid.uuid4().hex
    path = place / f"{name}{suffix_of(upload.filename)}"
    place.mkdir()
    try:
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream, 1 << 20)
        _refuse_detached(path)
        yield path
    finally:
        shutil.rmtree(place, ignore_errors=True)


def suffix_of(name: str | None) -> str:
    """The image suffix of a file's name. Raises MedGANError `not_an_image` if it has none that is known."""
    lower = (name or "").lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if lower.endswith(suffix):
            return suffix
    raise MedGANError("not_an_image", "The file's name has no known suffix.", f"Send one of {choices(SUFFIXES)}.")


def _refuse_detached(path: Path) -> None:
    """Refuses NRRD and MetaImage headers whose voxels are in another file, which could be any file of the server."""
    with path.open("rb") as stream:
        start = stream.read(HEADER_BYTES)
    if not {".nrrd": _nrrd_is_whole, ".mha": _mha_is_whole}.get(path.suffix, bool)(start or b" "):
        hint = "Save the image as one file, e.g. as .nii.gz."
        raise MedGANError("not_an_image", "The file's header points to voxels in another file, or has no end.", hint)


def _nrrd_is_whole(start: bytes) -> bool:
    """An NRRD header ends with an empty line."""
    end = re.search(rb"\n\r?\n", start)
    return end is not None and not re.search(rb"(?i)data\s*file", start[: end.start()])


def _mha_is_whole(start: bytes) -> bool:
    """A MetaImage header ends with the field that says where the voxels are."""
    fields = re.split(rb"(?i)elementdatafile", start, maxsplit=1)
    return len(fields) == 2 and fields[0].endswith(b"\n") and re.match(rb" *= *LOCAL *\r?\n", fields[1]) is not None

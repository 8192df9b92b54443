"""Files that clients send: stored under a name of ours, removed when the request is over."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

from monailabel_app.errors import MedGANError, choices
from trainers.data.volumes import SUFFIXES


@contextmanager
def received(upload: UploadFile, folder: Path, name: str = "image") -> Iterator[Path]:
    """Yields a temporary file with what was uploaded, removed afterwards, with all that was put beside it.

    Args:
        upload: the part of the request.
        folder: where temporary files go.
        name: what errors call the file, whose own name may be a patient's.

    Raises:
        MedGANError: `not_an_image`, for a suffix that is not known.
    """
    place = folder / uuid.uuid4().hex
    path = place / f"{name}{suffix_of(upload.filename)}"
    place.mkdir()
    try:
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream, 1 << 20)
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

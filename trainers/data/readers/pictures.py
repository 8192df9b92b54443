"""Pictures from PNG, JPEG, BMP and TIFF files: (channel, x, y), x to the right and y down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from trainers.data.readers.base import to_xy
from trainers.data.sets import Sample
from trainers.data.volumes import VolumeError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")  # grey with more than 8 bits


def is_picture(path: Path) -> bool:
    """Tells by its name whether a file is a picture; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_picture(path: Path, colour: bool) -> Sample:
    """Reads a picture as RGB, (3, x, y), or as grey, (1, x, y); transparency is dropped.

    Raises:
        VolumeError: not a readable picture, or more than 8 bits a channel where colour is asked for.
    """
    picture = open_picture(path)
    if picture.mode in DEEP_MODES:
        if colour:
            raise VolumeError("cannot_process", f"{path} is grey with more than 8 bits.", "Open the set in grey.")
        return Sample(_array(picture, path)[np.newaxis].astype(np.float32))
    array = _array(picture.convert("RGB" if colour else "L"), path).astype(np.float32)
    return Sample(np.ascontiguousarray(array if colour else array[np.newaxis]))


def read_values(path: Path) -> npt.NDArray[Any]:
    """Reads a picture of label values as they are stored, (x, y). Raises VolumeError if it is not one grey channel."""
    picture = open_picture(path)
    if picture.mode in ("RGB", "RGBA"):
        array = _array(picture.convert("RGB"), path)
        if (array != array[:1]).any():
            raise VolumeError(
                "wrong_labels", f"{path} is in colour.", "Save the label as a grey picture of its values."
            )
        return array[0]
    return _array(picture.convert("L") if picture.mode in ("1", "LA") else picture, path)


def open_picture(path: Path) -> Image.Image:
    """Opens a picture and decodes it. Raises VolumeError, naming the file."""
    if not path.is_file():
        raise VolumeError("not_an_image", f"There is no file {path}.", "Was it moved after the set was opened?")
    try:
        picture = Image.open(path)
        picture.load()
        return picture
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VolumeError("not_an_image", f"{path} is not a readable picture: {error}.", "Replace it.") from error


def in_colour(path: Path) -> bool:
    """Tells whether a picture's channels differ anywhere."""
    picture = open_picture(path)
    if picture.mode in ("1", "L", "LA", *DEEP_MODES):
        return False
    array = _array(picture.convert("RGB"), path)
    return bool((array != array[:1]).any())


def _array(picture: Image.Image, path: Path) -> npt.NDArray[Any]:
    """(x, y), or (channel, x, y) in colour."""
    array = np.asarray(picture)
    if array.ndim == 3:
        return array.transpose(2, 1, 0)
    if array.ndim != 2:
        raise VolumeError("cannot_process", f"{path} has {array.ndim} axes.", "Save it as a grey or RGB picture.")
    return to_xy(array)

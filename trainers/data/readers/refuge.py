"""REFUGE and REFUGE2: fundus photographs with optic disc and cup, and glaucoma, https://refuge.grand-challenge.org.

Orlando et al. 2020, Medical Image Analysis 59:101570; Fang et al. 2022, arXiv:2202.08994. The archives are laid out in
several ways, so images and masks are found by name below the folder, and glaucoma by folder, table or name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.data.cases import CasesError
from trainers.data.readers.base import RGB
from trainers.data.readers.pictures import is_picture, read_picture, read_values
from trainers.data.readers.refuge_tables import read_tables
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.volumes import VolumeError

CLASSES = ("non-glaucoma", "glaucoma")
LABELS = {"disc": 1, "cup": 2}
STORED = {255: 0, 128: 1, 0: 2}  # value in the mask file -> label; the disc is what is left of it around the cup
PARTS = {"train": "train", "val": "val", "test": "test"}  # by the start of a folder's name, less "refuge-" and the like
MASK_FOLDER = re.compile(r"mask|annotation|(^|[-_])gts?$", re.IGNORECASE)
COPIES = re.compile(r"_(cropped|square)$", re.IGNORECASE)  # the end of a folder's name: copies of photographs elsewhere
NAMED_SO = re.compile(r"refuge|(training|validation|test)400|disc_(cup_)?masks?", re.IGNORECASE)
FOLDERS = {"glaucoma": 1, "g": 1, "non-glaucoma": 0, "n": 0}
PREFIX = re.compile(r"([gn])\d+$", re.IGNORECASE)  # g0001, n0001


def recognise(path: Path) -> bool:
    """Tells whether folders are named as REFUGE's are, with pictures below them."""
    if not path.is_dir():
        return False
    folders = [path, *(p for p in path.glob("*") if p.is_dir()), *(p for p in path.glob("*/*") if p.is_dir())]
    return any(NAMED_SO.search(folder.name) for folder in folders) and bool(_sort(path)[0])


def open_refuge(path: Path | str) -> DataSet:
    """Opens photographs as (3, x, y) in 0-255, with a label of disc (rim) and cup where there is a mask.

    No patients are told, so each photograph is taken for one. An entry's id is its path in the folder without suffix.

    Args:
        path: the folder that holds `Training400` and `Annotation-Training400`, or `train`, `val` and `test`, ….

    Raises:
        FileNotFoundError: no photograph. CasesError: a photograph with two masks, or a table that cannot be read.
    """
    folder = Path(path)
    images, masks = _sort(folder)
    if not images:
        raise FileNotFoundError(
            f"There is no fundus photograph below {folder}. Expected e.g. Training400/Glaucoma/*.jpg; "
            "folders named …_cropped or …_square are left out as copies."
        )
    glaucoma, notes = read_tables(folder)
    entries = [
        _entry(folder, image, _mask(folder, image, masks.get(image.stem.lower(), [])), glaucoma) for image in images
    ]
    return DataSet(
        name=folder.resolve().name,
        entries=entries,
        channels=RGB,
        labels=LABELS,
        classes=CLASSES,
        dimensions=2,
        units="0-255",
        parts=_parts(folder, images, entries),
        notes=(*notes, *_notes(entries, _copies(folder))),
    )


def read_fundus(image: Path, mask: Path | None) -> Sample:
    """Reads a photograph and its mask. Raises VolumeError if they differ in size or the mask has other values."""
    sample = read_picture(image, colour=True)
    if mask is None:
        return sample
    stored = read_values(mask)
    if stored.shape != sample.image.shape[1:]:
        raise VolumeError(
            "wrong_geometry", f"{mask} is {stored.shape}, {image.name} is {sample.image.shape[1:]}.", "Pair them anew."
        )
    return Sample(sample.image, _label(stored, mask))


def _label(stored: npt.NDArray[np.uint8], mask: Path) -> npt.NDArray[np.uint8]:
    table = np.full(256, 255, np.uint8)
    table[list(STORED)] = list(STORED.values())
    label = table[stored]
    if (label == 255).any():
        other = sorted(set(np.unique(stored).tolist()) - set(STORED))[:5]
        raise VolumeError(
            "wrong_labels",
            f"{mask} has values {other}.",
            "Expected 0 (cup), 128 (disc) and 255 (background) alone; was it resized or saved as JPEG?",
        )
    return label


def _sort(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Photographs, and masks by name without suffix, lower case."""
    images: list[Path] = []
    masks: dict[str, list[Path]] = {}
    for file in sorted(p for p in folder.rglob("*") if is_picture(p) and not _is_copy(folder, p)):
        if any(MASK_FOLDER.search(part) for part in file.relative_to(folder).parts[:-1]):
            masks.setdefault(file.stem.lower(), []).append(file)
        elif file.suffix.lower() in (".jpg", ".jpeg", ".png"):
            images.append(file)
    return images, masks


def _is_copy(folder: Path, file: Path) -> bool:
    """Whether it lies in a folder of derived pictures, such as `Images_Cropped` beside `Images`."""
    return any(COPIES.search(part) for part in file.relative_to(folder).parts[:-1])


def _copies(folder: Path) -> int:
    return sum(is_picture(p) and _is_copy(folder, p) for p in folder.rglob("*"))


def _mask(folder: Path, image: Path, masks: list[Path]) -> Path | None:
    """The mask of a photograph's name that lies nearest to it."""
    near = [(_shared(image, mask), _part(folder, image) == _part(folder, mask), mask) for mask in masks]
    best = [mask for *rank, mask in near if rank == list(max(near)[:2])] if near else []
    if len(best) > 1:
        raise CasesError(f"{image} has two masks: {best[0]} and {best[1]}. Remove one.")
    return best[0] if best else None


def _shared(a: Path, b: Path) -> int:
    """How many folders two paths have in common from the top."""
    pairs = zip(a.parts, b.parts, strict=False)
    return next((number for number, (one, other) in enumerate(pairs) if one != other), 0)


def _part(folder: Path, file: Path) -> str | None:
    """By the first folder on the way down that is named for a part: `Train/REFUGE1-test` trains in REFUGE2."""
    words = (re.split(r"[-_]", name.lower()) for name in file.relative_to(folder).parts[:-1])
    return next((PARTS[key] for word in words for piece in word for key in PARTS if piece.startswith(key)), None)


def _entry(folder: Path, image: Path, mask: Path | None, glaucoma: Mapping[str, int]) -> Entry:
    id = image.relative_to(folder).with_suffix("").as_posix()
    files = (image, mask) if mask else (image,)
    return Entry(id, id, partial(read_fundus, image, mask), _target(folder, files, glaucoma), files=files)


def _target(folder: Path, files: Iterable[Path], glaucoma: Mapping[str, int]) -> int | None:
    """By the folder of the photograph or of its mask, else by the nearest table, else by the name's first letter."""
    for file in files:
        for name in file.relative_to(folder).parts[:-1]:
            if name.lower() in FOLDERS:
                return FOLDERS[name.lower()]
    image = next(iter(files))
    for parent in image.parents:
        if (key := f"{parent}/{image.name.lower()}") in glaucoma:
            return glaucoma[key]
        if parent == folder:
            break
    found = PREFIX.match(image.stem)
    return None if found is None else int(found.group(1).lower() == "g")


def _parts(folder: Path, images: list[Path], entries: list[Entry]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for image, entry in zip(images, entries, strict=True):
        if part := _part(folder, image):
            parts.setdefault(part, []).append(entry.id)
    return parts


def _notes(entries: list[Entry], copies: int) -> Iterable[str]:
    if copies:
        yield f"{copies} pictures in folders named …_cropped or …_square were left out as copies."
    unmasked = sum(len(entry.files) == 1 for entry in entries)
    untold = sum(entry.target is None for entry in entries)
    if unmasked:
        yield f"{unmasked} of {len(entries)} photographs have no mask of disc and cup."
    if untold:
        yield f"Of {untold} of {len(entries)} photographs it is not told whether there is glaucoma."

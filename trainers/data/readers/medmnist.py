"""MedMNIST and MedMNIST+: one `.npz` a set, https://medmnist.com (Yang et al. 2023, Scientific Data 10:41)."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.data.cases import CasesError
from trainers.data.readers.base import RGB, to_xy
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.volumes import VolumeError

PARTS = ("train", "val", "test")
FILES = "*.[nN][pP][zZ]"
CLASSES = {  # by the start of the file's name
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal or benign"),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "nodulemnist3d": ("benign", "malignant"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
}
UNREADABLE = (OSError, ValueError, EOFError, AttributeError, RuntimeError, SyntaxError, TokenError,
              zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What NumPy raises for files that are damaged: the header of an array is text that Python parses."""
Arrays = dict[str, npt.NDArray[Any]]


class Archive:
    """The arrays of one file, held once for all entries; pickled as the path alone and read again on first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: Arrays | None = None

    @property
    def arrays(self) -> Arrays:
        """Arrays by name. Raises VolumeError if the file is damaged."""
        if self._arrays is None:
            self._arrays = _load(self.path)
        return self._arrays

    def __repr__(self) -> str:
        return f"Archive({str(self.path.resolve())!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_arrays": None}


def recognise(path: Path) -> bool:
    """Tells whether `path` is a MedMNIST file or a folder with some."""
    if path.is_dir():
        return any(_has_parts(file) for file in path.glob(FILES))
    return path.suffix.lower() == ".npz" and _has_parts(path)


def open_medmnist(path: Path | str) -> DataSet:
    """Opens a MedMNIST file with any of its parts.

    Pictures become (1, x, y) or, if the last axis holds RGB, (3, x, y); volumes (1, x, y, z). An entry's patient is the
    hash of its image, since MedMNIST tells no patients: so at least exact repeats stay together in a split.

    Args:
        path: the `.npz`, or a folder with exactly one.

    Raises:
        CasesError: arrays that are missing or do not fit each other. VolumeError: the file is damaged.
    """
    file = _file(Path(path))
    archive = Archive(file)
    parts = [part for part in PARTS if f"{part}_images" in archive.arrays]
    if not parts:
        held = ", ".join(archive.arrays) or "nothing"
        raise CasesError(f"{file} is not a MedMNIST file: it holds {held}. Expected train_images, train_labels, …")
    shapes = {part: _shape(archive, part) for part in parts}
    if len(set(shapes.values())) > 1:
        raise CasesError(f"{file}: the parts' images differ in shape: {shapes}. Give the parts of one set.")
    shape = shapes[parts[0]]
    entries = {part: _entries(archive, part) for part in parts}
    everything = [entry for part in parts for entry in entries[part]]
    return DataSet(
        name=file.stem,
        entries=everything,
        channels=RGB if _colour(shape) else ("image",),
        classes=_classes(file.stem, everything),
        dimensions=2 if _colour(shape) else len(shape),
        units="0-255",
        parts={part: [entry.id for entry in entries[part]] for part in parts},
    )


def read_picture(archive: Archive, part: str, index: int) -> Sample:
    """One image of the archive, channel first."""
    stored = archive.arrays[f"{part}_images"][index]
    if _colour(stored.shape):
        return Sample(np.ascontiguousarray(stored.transpose(2, 1, 0), dtype=np.float32))
    return Sample(np.ascontiguousarray(to_xy(stored)[np.newaxis], dtype=np.float32))


def _file(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        return path
    files = sorted(path.glob(FILES))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise CasesError(f"The folder {path} should hold exactly one .npz; found: {found}. Give the file itself.")
    return files[0]


def _load(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except UNREADABLE as error:
        raise VolumeError("not_an_image", f"{path} is not a readable .npz file.", "Download it again.") from error


def _has_parts(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as stored:
            return any(f"{part}_images.npy" in stored.namelist() for part in PARTS)
    except (OSError, zipfile.BadZipFile):
        return False


def _shape(archive: Archive, part: str) -> tuple[int, ...]:
    images = archive.arrays[f"{part}_images"]
    if images.ndim not in (3, 4) or images.dtype.kind not in "uif":
        raise CasesError(
            f"{archive.path}: {part}_images is {images.shape} of {images.dtype}. "
            "Expected (n, h, w), (n, h, w, 3) or (n, d, h, w) numbers."
        )
    return images.shape[1:]


def _colour(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[-1] == 3


def _entries(archive: Archive, part: str) -> list[Entry]:
    images, labels = archive.arrays[f"{part}_images"], _labels(archive, part)
    return [
        Entry(
            id=f"{part}_{index:05d}",
            patient=hashlib.sha256(np.ascontiguousarray(images[index]).data).hexdigest()[:16],
            read=partial(read_picture, archive, part, index),
            target=int(labels[index, 0]) if labels.shape[1] == 1 else None,
            details={"labels": labels[index].tolist()} if labels.shape[1] > 1 else {},
            files=(archive.path,),
        )
        for index in range(len(images))
    ]


def _labels(archive: Archive, part: str) -> npt.NDArray[Any]:
    """(n, 1) for classes, (n, findings) for sets with many findings an image, (n, 0) where there are none."""
    count = len(archive.arrays[f"{part}_images"])
    labels = archive.arrays.get(f"{part}_labels", np.zeros((count, 0), int))
    labels = labels[:, np.newaxis] if labels.ndim == 1 else labels
    if labels.ndim != 2 or len(labels) != count or labels.dtype.kind not in "ui":
        raise CasesError(
            f"{archive.path}: {part}_labels is {labels.shape} of {labels.dtype} for {count} images. "
            "Expected one row of whole numbers an image."
        )
    return labels


def _classes(name: str, entries: list[Entry]) -> tuple[str, ...]:
    targets = {entry.target for entry in entries if entry.target is not None}
    if not targets:
        return ()
    if min(targets) < 0:
        raise CasesError(f"{name}: there is a negative class, {min(targets)}. Classes count from 0.")
    known = next((names for start, names in CLASSES.items() if name.lower().startswith(start)), ())
    return known if len(known) > max(targets) else tuple(str(value) for value in range(max(targets) + 1))

"""MedGAN's own layout: `images/` and, with the same file names, `labels/`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from trainers.data.cases import find_cases, find_images, stem
from trainers.data.readers.base import patient_of, read_pair
from trainers.data.sets import DataSet, Entry
from trainers.data.volumes import SUFFIXES


def recognise(path: Path) -> bool:
    """Tells whether there is a folder `images` with volumes, and no `dataset.json` that would explain it otherwise."""
    images = path / "images"
    return images.is_dir() and not (path / "dataset.json").exists() and bool(find_images(images))


def open_pairs(path: Path | str, patient_pattern: str | None = None) -> DataSet:
    """Opens `images/` with `labels/`, or `images/` alone where there is no folder `labels`.

    Args:
        path: the folder that holds them.
        patient_pattern: finds the patient in a file's name without suffix; None takes each file for a patient.

    Raises:
        FileNotFoundError: a folder or a label is missing. CasesError: two files have one name.
    """
    folder = Path(path)
    if (folder / "labels").is_dir():
        files: list[tuple[Path, Path | None]] = [(case.image, case.label) for case in find_cases(folder)]
    else:
        files = [(image, None) for image in _images(folder / "images")]
    entries = [_entry(image, label, patient_pattern) for image, label in files]
    return DataSet(name=folder.resolve().name, entries=entries)


def _entry(image: Path, label: Path | None, patient_pattern: str | None) -> Entry:
    name = stem(image)
    read = partial(read_pair, image, label)
    return Entry(name, patient_of(name, patient_pattern), read, files=(image, label) if label else (image,))


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Expected images/ and, if there are labels, labels/.")
    images = find_images(folder)
    if not images:
        raise FileNotFoundError(f"There are no images in {folder}. Known suffixes: {', '.join(SUFFIXES)}.")
    return images

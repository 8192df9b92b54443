"""Medical Segmentation Decathlon: a task's folder with `dataset.json`, http://medicaldecathlon.com.

Antonelli et al. 2022, Nature Communications 13:4128.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from trainers.data.cases import CasesError, stem
from trainers.data.readers.base import SampleGrid, naming, patient_of, read_pair
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.volumes import Limits, VolumeError, read_label
from trainers.files import read_json

TABLE = "dataset.json"


def recognise(path: Path) -> bool:
    """Tells whether there is a `dataset.json` beside `imagesTr`."""
    return (path / TABLE).is_file() and (path / "imagesTr").is_dir()


def open_decathlon(path: Path | str, unlabelled: bool = False, patient_pattern: str | None = None) -> DataSet:
    """Opens a task of the Decathlon; images with a fourth axis become channels.

    Args:
        path: the folder with `dataset.json`, e.g. `Task04_Hippocampus`.
        unlabelled: whether the test images, which come without labels, become entries too (the part `test`).
        patient_pattern: finds the patient in a file's name; None takes each file for a patient.

    Raises:
        FileNotFoundError: `dataset.json` or a file that it lists is missing. CasesError: it cannot be understood.
    """
    folder = Path(path)
    table = _read_table(folder)
    channels, labels = _names(table, "modality"), _names(table, "labels")
    files = {"train": [_pair(folder, item) for item in _list(table, "training")]}
    tests = [_pair(folder, {"image": item} if isinstance(item, str) else item) for item in _list(table, "test")]
    if unlabelled:
        files["test"] = [(image, None) for image, _ in tests]
    _check_files(folder, [file for pairs in files.values() for pair in pairs for file in pair if file])
    values = tuple(value for value in labels if value)
    parts = {
        part: [_entry(image, label, len(channels), values, patient_pattern) for image, label in pairs]
        for part, pairs in files.items()
    }
    return DataSet(
        name=str(table.get("name") or folder.resolve().name),
        entries=[entry for entries in parts.values() for entry in entries],
        channels=tuple(channels.values()),
        labels={name: value for value, name in labels.items() if value},
        units="HU" if {name.upper() for name in channels.values()} == {"CT"} else "arbitrary",
        parts={part: [entry.id for entry in entries] for part, entries in parts.items()},
        notes=_notes(tests, unlabelled),
    )


def read_channels(image: Path, label: Path | None, channels: int, values: tuple[int, ...]) -> Sample:
    """Reads a 3D image, or a 4D one whose last axis is the channels.

    Raises:
        VolumeError: unreadable, with another number of channels, or with a label on another grid or of unknown values.
    """
    if channels == 1:
        sample = read_pair(image)
    else:
        with naming(image):
            sample = _read_4d(image, channels)
    if label is None:
        return sample
    with naming(label):
        return replace(sample, label=read_label(label, values or None, SampleGrid(sample)).array)


def _read_4d(path: Path, channels: int) -> Sample:
    try:
        image = nib.load(path)
        shape = image.shape  # type: ignore[attr-defined]
        if len(shape) != 4 or shape[3] != channels:
            raise VolumeError("cannot_process", f"It is {shape}; {channels} channels are needed.", f"See {TABLE}.")
        if int(np.prod(shape, dtype=object)) > Limits().max_voxels:
            raise VolumeError("too_large", f"The header claims {shape} voxels.", "Crop or resample the image.")
        array = np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]
        affine = np.asarray(image.affine, np.float64)  # type: ignore[attr-defined]
    except VolumeError:
        raise
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise VolumeError("not_an_image", "It is damaged: its voxels cannot be read.", "Download it again.") from error
    if not np.isfinite(array).all():
        raise VolumeError("cannot_process", "It has voxels that are not a number.", "Replace them.")
    return Sample(np.ascontiguousarray(array.transpose(3, 0, 1, 2)), None, affine)


def _read_table(folder: Path) -> Mapping[str, Any]:
    file = folder / TABLE
    if not file.is_file():
        raise FileNotFoundError(f"There is no {TABLE} in {folder}. Give a task's folder, e.g. Task04_Hippocampus.")
    try:
        table = read_json(file)
    except (OSError, ValueError) as error:
        raise CasesError(f"{file} is not readable JSON: {error}. Download it again.") from error
    if not isinstance(table, dict) or not isinstance(table.get("training"), list) or not table["training"]:
        raise CasesError(f'{file} has no list "training" of images and labels. Is it of the Decathlon?')
    return table


def _names(table: Mapping[str, Any], key: str) -> dict[int, str]:
    """Names by number, in the order of the numbers."""
    try:
        return dict(sorted((int(number), str(name)) for number, name in table[key].items()))
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise CasesError(f'{TABLE} has no "{key}" such as {{"0": "name", …}}.') from error


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    value = table.get(key, [])
    return value if isinstance(value, list) else []


def _pair(folder: Path, item: Any) -> tuple[Path, Path | None]:
    if not isinstance(item, dict) or not isinstance(item.get("image"), str):
        raise CasesError(f'{folder / TABLE}: {str(item)[:80]!r} is not {{"image": …, "label": …}}.')
    label = item.get("label")
    return folder / item["image"], folder / str(label) if label else None


def _check_files(folder: Path, files: list[Path]) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} files that {folder / TABLE} lists are missing, the first is {missing[0]}. "
            "Unpack the archive completely."
        )


def _entry(image: Path, label: Path | None, channels: int, values: tuple[int, ...], pattern: str | None) -> Entry:
    name = stem(image)
    read = partial(read_channels, image, label, channels, values)
    return Entry(name, patient_of(name, pattern), read, files=(image, label) if label else (image,))


def _notes(tests: list[Any], unlabelled: bool) -> tuple[str, ...]:
    if unlabelled or not tests:
        return ()
    return (f"{len(tests)} test images have no labels and were left out; unlabelled=True takes them.",)

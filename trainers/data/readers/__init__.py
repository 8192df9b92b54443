"""Data sets by layout: one row a reader. `open_data` finds the reader and opens the set."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainers.data.cases import CasesError
from trainers.data.readers import brats, decathlon, folders, luna16, medmnist, pairs, refuge, sequences
from trainers.data.readers.base import Reader
from trainers.data.sets import CLASSES, PATIENTS, DataSet

__all__ = ["READERS", "Reader", "open_data", "recognise", "takes"]

READERS: dict[str, Reader] = {
    "medmnist": Reader(
        medmnist.open_medmnist, medmnist.recognise, "a MedMNIST .npz with train_images, train_labels, …"
    ),
    "pairs": Reader(pairs.open_pairs, pairs.recognise, "images/ and, with the same file names, labels/"),
    "luna16": Reader(luna16.open_luna16, luna16.recognise, "subset*/*.mhd with annotations.csv or candidates_V2.csv"),
    "brats": Reader(brats.open_brats, brats.recognise, "a folder a study with *_t1, *_t1ce, *_t2, *_flair and *_seg"),
    "sequences": Reader(
        sequences.open_sequences, sequences.recognise, "a folder a patient with volumes of the same names, e.g. CT, PET"
    ),
    "refuge": Reader(refuge.open_refuge, refuge.recognise, "Training400/, Annotation-Training400/, … with fundus .jpg"),
    "decathlon": Reader(decathlon.open_decathlon, decathlon.recognise, "dataset.json with imagesTr/ and labelsTr/"),
    "folders": Reader(
        folders.open_folders, folders.recognise, "a folder of images, or a folder of images a class", general=True
    ),
}


def open_data(path: Path | str, kind: str = "auto", **options: Any) -> DataSet:
    """Opens a data set without reading its images.

    Args:
        path: the folder, or the file of a set that is one file.
        kind: a name in READERS, or `auto` to go by the layout.
        **options: the reader's own, e.g. `patient_pattern`.

    Raises:
        FileNotFoundError: there is nothing at `path`, or files of the set are missing.
        CasesError: an unknown kind, layout or option, or a set that contradicts itself. VolumeError: a damaged file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {path}. Give the data set's folder, or its .npz file.")
    kind = recognise(path) if kind == "auto" else kind
    if kind not in READERS:
        raise CasesError(f"There is no data reader {kind!r}. Known: auto, {', '.join(READERS)}.")
    _check_options(kind, options)
    data = READERS[kind].open(path, **options)
    _check_ids(data)
    classes = options.get("classes")
    said = "" if classes is None else CLASSES if classes else PATIENTS
    return replace(data, patient_pattern=options.get("patient_pattern") or "", sub_folders=said)


def takes(path: Path, kind: str, option: str) -> bool:
    """Whether the reader of a layout has an option; raises as `recognise` for `auto`."""
    name = recognise(path) if kind == "auto" else kind
    return name in READERS and option in _options(name)


def recognise(path: Path) -> str:
    """The name of the one reader whose layout `path` has. Raises CasesError if there is none, or more than one."""
    for general in (False, True):
        found = [name for name, reader in READERS.items() if reader.general == general and reader.recognise(path)]
        if len(found) == 1:
            return found[0]
        if found:
            raise CasesError(f"{path} could be {' or '.join(found)}. Name the kind.")
    known = "\n".join(f"  {name}: {reader.layout}" for name, reader in READERS.items())
    raise CasesError(f"The layout of {path} is not known. Name the kind, or arrange the files as one of:\n{known}")


def _options(kind: str) -> list[str]:
    return list(inspect.signature(READERS[kind].open).parameters)[1:]


def _check_options(kind: str, options: Mapping[str, Any]) -> None:
    known = _options(kind)
    wrong = [name for name in options if name not in known]
    if wrong:
        raise CasesError(f"The reader {kind} has no option {wrong[0]!r}. Known: {', '.join(known) or 'none'}.")


def _check_ids(data: DataSet) -> None:
    repeated = [id for id, count in Counter(entry.id for entry in data.entries).items() if count > 1]
    if repeated:
        raise CasesError(f"{len(repeated)} names occur twice in {data.name}, e.g. {repeated[0]}. Rename or remove one.")

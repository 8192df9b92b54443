"""Several images of each patient as channels: a folder a patient, or a folder an image with equal file names.

Volumes may have grids of their own: all are brought to the first one's, by where they are in the patient.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.data.alignment import align
from trainers.data.cases import CasesError, find_images, stem
from trainers.data.readers import brats
from trainers.data.readers.base import naming, patient_of
from trainers.data.readers.folders import NO_CLASSES
from trainers.data.readers.masks import MASK, MODALITY
from trainers.data.readers.pictures import is_picture, read_picture
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.volumes import VolumeError, read_volume

SLICE = re.compile(r"(.*\d)[-_]?\d{3}")  # a picture's name: the case, then the slice
NAMED = 3  # patients that an error names
Files = Mapping[str, Path]


def recognise(path: Path) -> bool:
    """Tells whether the sub-folders with volumes all have two or more that are named for a modality."""
    if not path.is_dir() or brats.recognise(path):
        return False
    found = {sub.name: {stem(file) for file in find_images(sub)} for sub in _sub_folders(path)}
    found = {name: files for name, files in found.items() if files}
    return bool(found) and all(_named(files) and name.lower() not in NO_CLASSES for name, files in found.items())


def open_sequences(path: Path | str, sequences: Sequence[str] = ()) -> DataSet:
    """Opens a folder with a sub-folder a patient, in which volumes have the same names: `STS_002/CT.nii.gz`, ….

    Args:
        path: the folder.
        sequences: file names without suffix, in the order of the channels; all are read on the grid of the first. None
            given takes those that all patients have, in alphabetical order, without masks.

    Raises:
        FileNotFoundError: no volumes. CasesError: a patient lacks a sequence, or one is named twice.
    """
    folder = Path(path)
    studies = _studies(folder) if folder.is_dir() else {}
    if not studies:
        raise FileNotFoundError(f"There are no volumes in sub-folders of {folder}. Expected e.g. PATIENT/CT.nii.gz.")
    names = tuple(sequences) or _common(studies)
    _check_names(names)
    kept = {name: files for name, files in studies.items() if set(names) & set(files)}
    if not kept:
        raise CasesError(f"No sub-folder of {folder} has {', '.join(names)}; there are {', '.join(_all(studies))}.")
    _check_complete(kept, names)
    skipped = [sub.name for sub in _sub_folders(folder) if sub.name not in kept]
    notes = (f"{len(skipped)} sub-folders have none of the sequences: {', '.join(skipped)}.",) if skipped else ()
    entries = [_entry(name, name, [files[s] for s in names]) for name, files in kept.items()]
    return DataSet(folder.resolve().name, entries, channels=names, notes=notes)


def open_aligned(folders: Sequence[Path | str], patient_pattern: str | None = None) -> DataSet:
    """Opens several folders with equal file names, each one channel: volumes, or pictures, whose colour becomes luma.

    Args:
        folders: at least one; the channels are named for them. Volumes are read on the grid of the first one's.
        patient_pattern: finds the patient in a file's name without suffix. None takes a volume for a patient, and
            pictures whose names differ in the last three of more digits for slices of one, `16003` for one of `16`.

    Raises:
        FileNotFoundError: a folder without images. CasesError: an image without a partner, pictures among volumes, or
            one name twice.
    """
    channels = _channels([Path(folder) for folder in folders])
    found = {name: _images(folder) for name, folder in channels.items()}
    flat = _flat(found)
    _check_partners(found)
    entries = [
        _entry(name, _patient(name, patient_pattern, flat), [files[name] for files in found.values()])
        for name in next(iter(found.values()))
    ]
    dimensions, units = (2, "0-255") if flat else (3, "arbitrary")
    notes = () if patient_pattern else ("No patient_pattern is given, so patients go by the file names.",)
    return DataSet(
        " + ".join(channels), entries, tuple(channels), dimensions=dimensions, units=units, notes=notes,
        patient_pattern=patient_pattern or "",
    )  # fmt: skip


def read_aligned(files: Sequence[Path]) -> Sample:
    """Reads volumes as channels on the grid of the first, outside of one's own field its smallest value.

    Returns:
        The sample, (c, x, y, z) float32. Raises VolumeError, naming the file, if one is unreadable or is elsewhere.
    """
    with naming(files[0]):
        first = read_volume(files[0])
    arrays = [first.array.astype(np.float32)]
    for file in files[1:]:
        with naming(file):
            arrays.append(align(read_volume(file), first).array)
    return Sample(np.stack(arrays), affine=first.affine)


def read_pictures(files: Sequence[Path]) -> Sample:
    """Reads pictures as channels, (c, x, y). Raises VolumeError if they are unreadable or differ in size."""
    arrays: list[npt.NDArray[np.float32]] = [read_picture(file, colour=False).image[0] for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape != arrays[0].shape:
            sizes = " and ".join(" x ".join(map(str, a.shape)) for a in (array, arrays[0]))
            raise VolumeError("wrong_geometry", f"{file} and {files[0]} differ in size: {sizes}.", "Register them.")
    return Sample(np.stack(arrays))


def _named(names: Iterable[str]) -> bool:
    return sum(MODALITY.fullmatch(name) is not None for name in names) > 1


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _studies(folder: Path) -> dict[str, Files]:
    """Sub-folders with volumes, by name, and their files by what they are called."""
    found = {sub.name: _by_stem(find_images(sub)) for sub in _sub_folders(folder)}
    return {name: files for name, files in found.items() if files}


def _by_stem(files: Sequence[Path]) -> Files:
    names = Counter(map(stem, files))
    if names and max(names.values()) > 1:
        name, folder = names.most_common(1)[0][0], files[0].parent
        raise CasesError(f"{folder} has {name} in several formats. Remove all but one.")
    return {stem(file): file for file in files}


def _common(studies: Mapping[str, Files]) -> tuple[str, ...]:
    """What all patients have, without masks; sub-folders with masks alone are none."""
    named = [{n for n in files if not MASK.search(n)} for files in studies.values()]
    common = sorted(set.intersection(*filter(None, named))) if any(named) else []
    if not common:
        raise CasesError(f"No sequence is there for all patients; there are {', '.join(_all(studies))}. Name some.")
    return tuple(common)


def _all(studies: Mapping[str, Files]) -> list[str]:
    return sorted({name for files in studies.values() for name in files})


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise CasesError(f"The sequences {', '.join(names)} have one twice.")


def _check_complete(studies: Mapping[str, Files], names: Sequence[str]) -> None:
    lacking = {name: [s for s in names if s not in files] for name, files in studies.items()}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if lacking:
        some = "; ".join(f"{name}: {', '.join(missing)}" for name, missing in list(lacking.items())[:NAMED])
        raise CasesError(
            f"{len(lacking)} of {len(studies)} patients lack a sequence ({some}). "
            "Complete or remove them, or name the sequences that all have."
        )


def _channels(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by name, or by the names of both the folder and the one above it where that alone tells them apart."""
    resolved = [folder.resolve() for folder in folders]
    for name in (lambda p: p.name, lambda p: f"{p.parent.name}/{p.name}"):
        named = {name(folder): folder for folder in resolved}
        if resolved and len(named) == len(resolved):
            return named
    raise CasesError("Give different folders, with different names." if resolved else "Give at least one folder.")


def _images(folder: Path) -> Files:
    """Images by their names; either volumes or pictures."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    volumes, pictures = find_images(folder), sorted(filter(is_picture, folder.iterdir()))
    if volumes and pictures:
        raise CasesError(f"{folder} holds pictures ({pictures[0].name}) and volumes ({volumes[0].name}).")
    if not volumes and not pictures:
        raise FileNotFoundError(f"There are no volumes or pictures in {folder}.")
    return _by_stem([*volumes, *pictures])


def _flat(found: Mapping[str, Files]) -> bool:
    """Whether they are pictures. Raises CasesError if some are and some are volumes."""
    flat = [name for name, files in found.items() if is_picture(next(iter(files.values())))]
    deep = [name for name in found if name not in flat]
    if flat and deep:
        raise CasesError(f"{flat[0]} has pictures and {deep[0]} has volumes. Give folders of one kind.")
    return bool(flat)


def _check_partners(found: Mapping[str, Files]) -> None:
    for one in found:
        for other in found:
            alone = sorted(set(found[one]) - set(found[other]))
            if alone:
                file = found[one][alone[0]].name
                raise CasesError(f"{len(alone)} images of {one} have no partner in {other}, the first is {file}.")


def _patient(name: str, pattern: str | None, picture: bool) -> str:
    case = SLICE.fullmatch(name) if picture and pattern is None else None
    return case.group(1) if case else patient_of(name, pattern)


def _entry(name: str, patient: str, files: Sequence[Path]) -> Entry:
    read = read_pictures if is_picture(files[0]) else read_aligned
    return Entry(name, patient, partial(read, tuple(files)), files=tuple(files))

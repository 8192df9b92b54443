"""A folder of volumes (NIfTI, NRRD, MetaImage, DICOM series) or pictures (PNG, JPEG, …), or one a class or patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from trainers.data.cases import CasesError, find_images, stem, wrapped_volume
from trainers.data.readers.base import RGB, patient_of, read_pair
from trainers.data.readers.masks import note as note_of_masks
from trainers.data.readers.masks import without_masks
from trainers.data.readers.pictures import DEEP_MODES, in_colour, is_picture, open_picture, read_picture
from trainers.data.readers.pictures import SUFFIXES as PICTURES
from trainers.data.readers.subjects import are_patients, note, subject_folder
from trainers.data.sets import DataSet, Entry
from trainers.data.volumes import SUFFIXES as VOLUMES

PROBED = 8  # pictures that are looked at to tell colour from grey
MAGIC = (128, b"DICM")  # where a DICOM file says that it is one
NO_CLASSES = {"image", "images", "label", "labels", "mask", "masks", "imagestr", "labelstr", "imagests", "1st_manual"}


def recognise(path: Path) -> bool:
    """Tells whether there are images in a folder or in its sub-folders, or slices of one DICOM series."""
    return path.is_dir() and (is_series(path) or bool(_units(path, False)) or bool(_by_folder(path, False)))


def open_folders(
    path: Path | str,
    recursive: bool = False,
    patient_pattern: str | None = None,
    colour: bool | None = None,
    classes: bool | None = None,
) -> DataSet:
    """Opens a plain folder of images.

    Args:
        path: a folder of images; or of folders of images, whose names are the classes or the patients; or one DICOM
            series.
        recursive: whether to look for images deeper down.
        patient_pattern: regular expression that finds the patient in a file's name, or else in its path, without
            suffix; its first group counts, if it has one. None takes the sub-folder that is a patient, or that is named
            like a subject (`sub-01`), and else each image for a patient.
        colour: pictures as RGB or grey; None looks at some of them.
        classes: where no images lie beside them, whether sub-folders are classes (True) or patients (False). None goes
            by their names and how many images they hold, see `subjects.are_patients`; a note tells the outcome.

    Raises:
        FileNotFoundError: no images. CasesError: volumes and pictures are mixed, or sub-folders that hold images and
            labels rather than classes.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    found, masks = _without_masks(_find(folder, recursive, classes))
    units = [unit for name in found for unit in found[name]]
    if not units:
        raise FileNotFoundError(
            f"There are no images in {folder}. Known: {', '.join((*VOLUMES, *PICTURES))}, and folders of DICOM slices."
            + ("" if recursive else " recursive=True looks deeper.")
        )
    pictures = _pictures(folder, units)
    colour = pictures and (any(map(in_colour, _some(units))) if colour is None else colour)
    folders = [name for name in found if name]
    patients = _are_patients(found, classes)
    names = [] if patients or classes is False else folders
    reading = partial(_entry, folder, pictures=pictures, colour=colour, pattern=patient_pattern, by_folder=patients)
    entries = [reading(unit, names.index(name) if names else None) for name in found for unit in found[name]]
    return DataSet(
        name=folder.resolve().name,
        entries=entries,
        channels=RGB if colour else ("image",),
        classes=tuple(names),
        dimensions=2 if pictures else 3,
        units="0-255" if pictures and not any(map(_deep, _some(units))) else "arbitrary",
        notes=(*_notes(entries, patients, names, folders, patient_pattern), *([note_of_masks(masks)] if masks else [])),
    )


def is_series(folder: Path) -> bool:
    """Tells whether a folder holds DICOM slices."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return any(_is_dicom(file) for file in files[:3])


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() == ".dcm":
        return True
    if file.suffix and not file.suffix[1:].isdigit():  # names such as 1.2.840.113619 are common
        return False
    with file.open("rb") as opened:
        return opened.read(MAGIC[0] + len(MAGIC[1]))[MAGIC[0] :] == MAGIC[1]


def _find(folder: Path, recursive: bool, classes: bool | None) -> Mapping[str, list[Path]]:
    """Images by sub-folder, in order; by an empty name where sub-folders mean nothing."""
    if is_series(folder):
        return {"": [folder]}
    top = _units(folder, False)
    if top and not classes:
        return {"": _units(folder, recursive)}
    found = _by_folder(folder, recursive)
    wrong = [name for name in found if name.lower() in NO_CLASSES]
    if wrong and classes is not False:
        raise CasesError(
            f"The sub-folders {', '.join(wrong)} of {folder} are no classes by their names. Arrange images/ and "
            "labels/ with equal file names of volumes, give the folder of the images, or say classes=False."
        )
    return found


def _without_masks(found: Mapping[str, list[Path]]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Images by sub-folder, and the masks that lay among them."""
    parts = {name: without_masks(units) for name, units in found.items()}
    return {name: images for name, (images, _) in parts.items()}, [m for _, masks in parts.values() for m in masks]


def _are_patients(found: Mapping[str, Sequence[Path]], classes: bool | None) -> bool:
    """Whether sub-folders are patients, as `classes` has it or, if that is None, by what they look like."""
    if any(not name or name.lower() in NO_CLASSES for name in found):
        return False
    return are_patients(found) if classes is None else not classes


def _by_folder(folder: Path, recursive: bool) -> dict[str, list[Path]]:
    found = {sub.name: _units(sub, recursive) for sub in _sub_folders(folder) if not is_series(sub)}
    return {name: units for name, units in found.items() if units}


def _sub_folders(folder: Path) -> list[Path]:
    """Without those that stand for the one volume in them."""
    found = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(p for p in found if not wrapped_volume(p))


def _units(folder: Path, recursive: bool) -> list[Path]:
    """Image files, and sub-folders that are DICOM series."""
    return list(_walk(folder, recursive))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    yield from sorted([*find_images(folder), *filter(is_picture, folder.iterdir())])
    for sub in _sub_folders(folder):
        if is_series(sub):
            yield sub
        elif recursive:
            yield from _walk(sub, recursive)


def _pictures(folder: Path, units: list[Path]) -> bool:
    pictures = [unit for unit in units if is_picture(unit) and unit.is_file()]
    if pictures and len(pictures) < len(units):
        volume = next(unit for unit in units if unit not in pictures)
        raise CasesError(f"{folder} holds pictures ({pictures[0].name}) and volumes ({volume.name}). Separate them.")
    return bool(pictures)


def _some(units: list[Path]) -> list[Path]:
    return units[:: max(1, len(units) // PROBED)]


def _deep(picture: Path) -> bool:
    return open_picture(picture).mode in DEEP_MODES


def _entry(
    folder: Path, unit: Path, target: int | None, pictures: bool, colour: bool, pattern: str | None, by_folder: bool
) -> Entry:
    name = unit.name if unit.is_dir() else stem(unit)
    id = (unit.relative_to(folder).parent / name).as_posix()
    read = partial(read_picture, unit, colour) if pictures else partial(read_pair, unit)
    files = tuple(sorted(p for p in unit.iterdir() if p.is_file())) if unit.is_dir() else (unit,)
    return Entry(id, _patient(name, id, pattern, by_folder), read, target, files=files)


def _patient(name: str, id: str, pattern: str | None, by_folder: bool) -> str:
    """By the pattern in the name or else in the path, or without a pattern by a folder, or else the image itself."""
    if pattern is None:
        return subject_folder(id) or (id.partition("/")[0] if by_folder else id)
    try:
        return patient_of(name, pattern)
    except CasesError:
        return patient_of(id, pattern)


def _notes(
    entries: Sequence[Entry], patients: bool, names: Sequence[str], folders: Sequence[str], pattern: str | None
) -> Iterator[str]:
    """What images and sub-folders were taken for. A pattern tells the patients, so that classes cannot be some."""
    alone = sum(entry.patient == entry.id for entry in entries)
    if pattern is None and alone == len(entries):
        yield "No patient_pattern is given, so each image is taken for a patient."
    elif pattern is None and not patients:
        others = f", each of the other {alone} images for one" if alone else ""
        yield f"Folders named like subjects, such as sub-01, are taken for patients{others}."
    if patients or (names and pattern is None):
        yield note(folders, patients)

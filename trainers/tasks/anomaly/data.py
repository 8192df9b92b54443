"""Healthy and abnormal images on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from trainers.data.alignment import reordered
from trainers.data.cases import CasesError
from trainers.data.readers import open_data, takes
from trainers.data.readers.base import SampleGrid, naming
from trainers.data.readers.pictures import is_picture, read_values
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.volumes import VolumeError, read_label
from trainers.known import split_known
from trainers.spec import ModelSpec

NORMAL, ABNORMAL, MASKS = "normal", "abnormal", "masks"
USUAL_NAMES = ("normal", "healthy", "no finding", "no_finding", "no_dr", "good")
"""What sets call the class of healthy images."""


@dataclass(frozen=True)
class Examined:
    """Images whose verdict is known.

    Attributes:
        normal, abnormal: entries. A sample of an abnormal one has a label map, 1 where it is abnormal, if one is known.
        marked: ids of abnormal ones of which it is.
        left_out: how many others there were, by the names of `trainers.tasks.anomaly.report.LEFT_OUT`.
    """

    normal: list[Entry]
    abnormal: list[Entry]
    marked: frozenset[str] = frozenset()
    left_out: Mapping[str, int] = field(default_factory=dict)


def healthy(data: DataSet, normal: str = "") -> DataSet:
    """The healthy images of a set, without their label maps.

    Args:
        data: of a set without classes all images are taken to be healthy.
        normal: name of the class of healthy images; empty looks for a usual one.

    Raises:
        CasesError: classes, none of which is that.
    """
    if not data.classes:
        return replace(data, entries=[_plain(entry) for entry in data.entries])
    index = data.classes.index(_normal_class(data, normal))
    return replace(data, entries=[_plain(entry) for entry in data.entries if entry.target == index])


def open_examined(
    path: Path, kind: str = "auto", normal: str = "", patient_pattern: str = "", classes: bool | None = None
) -> Examined:
    """Opens `path/normal` and `path/abnormal`, folders of images or with a MedMNIST .npz each, or a set with classes.

    Images of unknown class are left out of a set with classes. `path/masks`, if it is there, has label maps named as
    the abnormal images; what is not 0 in them is abnormal.

    Args:
        path: a folder, or a .npz.
        kind: layout, as for `open_data`.
        normal: class of the healthy images in a set with classes; empty looks for a usual one.
        patient_pattern: finds the patient in a file's name, as for `open_data`; empty takes each image for one.
        classes: whether sub-folders are classes (True) or patients (False), for readers that have them; below
            `path/normal` they can be patients alone. None goes by their names.

    Raises:
        FileNotFoundError: nothing there. CasesError: no classes, no normal or no abnormal images, a mask of none, or a
            pattern that does not fit.
    """
    options: dict[str, Any] = {"patient_pattern": patient_pattern} if patient_pattern else {}
    parts = (path / NORMAL, path / ABNORMAL)
    if path.is_dir() and all(part.is_dir() for part in parts):
        options |= {} if classes in (None, True) else {"classes": False}
        good, bad = (_open_part(part, kind, options) for part in parts)
        return _with_masks(Examined([_plain(entry) for entry in good], [_plain(e) for e in bad]), path / MASKS)
    data = open_data(path, kind, **_taken(path, kind, options if classes is None else {**options, "classes": classes}))
    if not data.classes:
        raise CasesError(f"{path} has neither the folders {NORMAL}/ and {ABNORMAL}/ nor classes; arrange it so.")
    index = data.classes.index(_normal_class(data, normal))
    known = [e for e in data.entries if e.target is not None]
    unknown = len(data.entries) - len(known)
    found = [[_plain(e) for e in known if (e.target == index) is wanted] for wanted in (True, False)]
    if not all(found):
        counts = f"{len(found[0])} normal, {len(found[1])} abnormal and {unknown} images of unknown class"
        raise CasesError(f"{path} has {counts}; normal and abnormal ones are needed.")
    return Examined(found[0], found[1], left_out={"unknown_class": unknown})


def unknown_to(spec: ModelSpec, examined: Examined) -> Examined:
    """Without the images of patients that a model learned from or was calibrated with."""
    stored = spec.training.get("patients", {})
    learned = {patient for part in ("train", "validation") for patient in stored.get(part) or ()}
    # A set that was learned from with its folders as classes has their names before its patients.
    normal = [e for e in split_known(spec, examined.normal)[0] if f"{NORMAL}/{e.patient}" not in learned]
    abnormal = [e for e in examined.abnormal if e.patient not in learned]
    kept = {e.id for e in abnormal}
    left_out = {
        **examined.left_out,
        "known_normal": len(examined.normal) - len(normal),
        "known_abnormal": len(examined.abnormal) - len(abnormal),
    }
    return Examined(normal, abnormal, examined.marked & kept, left_out)


def _normal_class(data: DataSet, normal: str) -> str:
    known = {name.lower(): name for name in data.classes}
    for name in [normal] if normal else USUAL_NAMES:
        if name.lower() in known:
            return known[name.lower()]
    asked = f"no class {normal!r}" if normal else "no class with a usual name of healthy images"
    raise CasesError(f"{data.name} has {asked}. Its classes: {', '.join(data.classes)}. Name one with --normal.")


def _open_part(folder: Path, kind: str, options: Mapping[str, Any]) -> Sequence[Entry]:
    """Images of a folder, or of the .npz in it; whatever it says of their classes."""
    files = sorted(folder.glob("*.npz"))
    path = files[0] if files else folder
    return open_data(path, kind, **_taken(path, kind, options)).entries


def _taken(path: Path, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without `classes` where the reader has no such one."""
    return {name: value for name, value in options.items() if name != "classes" or takes(path, kind, name)}


def _with_masks(examined: Examined, folder: Path) -> Examined:
    if not folder.is_dir():
        return examined
    files = {_stem(file): file for file in sorted(folder.iterdir()) if file.is_file() and file.name[0] != "."}
    names = {entry.id: Path(entry.id).name for entry in examined.abnormal}
    strange = sorted(set(files) - set(names.values()))
    if strange:
        raise CasesError(f"{folder} has {strange[0]}, but there is no abnormal image of that name.")
    entries = [_marked(entry, files.get(names[entry.id])) for entry in examined.abnormal]
    marked = frozenset(id for id, name in names.items() if name in files)
    return Examined(examined.normal, entries, marked)


def _read_volume(mask: Path, sample: Sample) -> npt.NDArray[Any]:
    label = read_label(mask)
    placed = sample.affine is not None and sample.image.ndim == 4
    return reordered(label, SampleGrid(sample)).array if placed else label.array


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rsplit(".", 1)[0]


def _plain(entry: Entry) -> Entry:
    """The entry without its label map: what is looked at must not depend on it."""
    return replace(entry, read=partial(_read_plain, entry), target=None)


def _read_plain(entry: Entry) -> Sample:
    return replace(entry.read(), label=None)


def _marked(entry: Entry, mask: Path | None) -> Entry:
    if mask is None:
        return entry
    return replace(entry, read=partial(_read_marked, entry, mask), files=(*entry.files, mask))


def _read_marked(entry: Entry, mask: Path) -> Sample:
    """The sample with a label map in its order of axes. Raises VolumeError, naming the file, if it lies elsewhere."""
    sample = entry.read()
    with naming(mask):
        label = read_values(mask) if is_picture(mask) else _read_volume(mask, sample)
    if label.ndim > sample.image.ndim - 1:
        label = label.squeeze()
    if label.shape != sample.image.shape[1:]:
        raise VolumeError("wrong_geometry", f"{mask} has {label.shape} voxels, its image {sample.image.shape[1:]}.")
    return replace(sample, label=(label > 0).astype("uint8"))

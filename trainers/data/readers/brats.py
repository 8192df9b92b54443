"""BraTS: a folder a patient and time point, with four MR sequences and, in training sets, the tumour's parts.

Menze et al. 2015, IEEE TMI 34(10); Baid et al. 2021, arXiv:2107.02314; after treatment, de Verdier et al. 2024,
arXiv:2405.18368. Names of 2012-2021 (`…_t1ce.nii.gz`), of 2023 and later (`…-t1c.nii.gz`), and bare ones
(`t1c.nii.gz`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from trainers.data.cases import CasesError, find_images, stem
from trainers.data.readers.base import SampleGrid, naming, read_pair
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.volumes import VolumeError, read_label, read_volume, same_grid

SEQUENCES = ("t1", "t1c", "t2", "flair")
NAMES = {  # last word of a file's name -> what it is
    **{"t1": "t1", "t1n": "t1", "t1c": "t1c", "t1ce": "t1c", "t1gd": "t1c"},
    **{"t2": "t2", "t2w": "t2", "flair": "flair", "t2f": "flair", "seg": "seg", "segm": "seg"},
}
LABELS: Mapping[str, Mapping[str, int]] = defaultdict(
    dict,
    {
        "2021": {"NCR": 1, "ED": 2, "ET": 4},
        "2023": {"NCR": 1, "ED": 2, "ET": 3},
        "2024": {"NCR": 1, "ED": 2, "ET": 3, "RC": 4},  # after treatment, with the resection's cavity
    },
)
ADULTS = ("GLI", "MEN", "MET", "SSA")  # the children's labels (PED) changed from year to year
NEW_NAME = re.compile(r"(BraTS-([A-Z]+)-\d+)-(\d{3})$", re.IGNORECASE)  # BraTS-GLI-00001-000: patient, then time point
TREATED = 100  # the first time point of gliomas after treatment, https://doi.org/10.48550/arXiv.2405.18368
SCAN_NAME = re.compile(r"(BraTS1[789]_\w+_\w+)_\d+$", re.IGNORECASE)  # Brats18_TCIA08_167_1: patient, then scan
DEPTH = 4


@dataclass(frozen=True)
class Study:
    """One time point: its folder and its files by sequence, `seg` among them."""

    folder: Path
    files: Mapping[str, Path]


def recognise(path: Path) -> bool:
    """Tells whether a folder holds studies with all four sequences, or folders named BraTS with any of them."""
    return any(set(SEQUENCES) <= set(s.files) or s.folder.name.lower().startswith("brats") for s in _studies(path))


def open_brats(
    path: Path | str, sequences: Sequence[str] = SEQUENCES, labels: Mapping[str, int] | None = None
) -> DataSet:
    """Opens BraTS: channels in the order of `sequences`, label values as stored.

    Time points of one patient (`BraTS-GLI-00001-000`, `-001`) share the patient. Studies without a segmentation have no
    label.

    Args:
        path: a folder with a folder a study, directly or a few folders deep (`HGG`, `LGG`).
        sequences: some of t1, t1c, t2, flair.
        labels: name to value; None takes NCR 1, ED 2 and, by the names' year, ET 4 (until 2021) or ET 3 (from 2023),
            with RC 4 for gliomas after treatment (time points from 100 on), and takes any value, without names, in
            challenges with other labels. Other values in a file are an error.

    Raises:
        FileNotFoundError: no study. CasesError: a study lacks a sequence, or studies are mixed whose labels give one
            part two values.
    """
    folder = Path(path)
    unknown = [name for name in sequences if name not in SEQUENCES]
    if unknown or not sequences:
        raise CasesError(f"Unknown sequences: {', '.join(unknown) or 'none given'}. Known: {', '.join(SEQUENCES)}.")
    studies = list(_studies(folder))
    if not studies:
        raise FileNotFoundError(
            f"There is no BraTS study below {folder}. Expected a folder a study with files ending in "
            "t1/t1n, t1c/t1ce, t2/t2w, flair/t2f and seg, as .nii or .nii.gz."
        )
    _check_sequences(studies, sequences)
    known = dict(labels) if labels is not None else _labels(studies)
    unlabelled = sum("seg" not in study.files for study in studies)
    notes = (f"{unlabelled} of {len(studies)} studies have no segmentation.",) if unlabelled else ()
    entries = [_entry(s, tuple(sequences), known if labels is not None else LABELS[_scheme(s)]) for s in studies]
    return DataSet(folder.resolve().name, entries, channels=tuple(sequences), labels=known, notes=notes)


def patient(name: str) -> str:
    """The patient in the name of a study's folder."""
    found = NEW_NAME.match(name) or SCAN_NAME.match(name)
    return found.group(1) if found else name


def read_study(images: Sequence[Path], label: Path | None, values: tuple[int, ...] | None) -> Sample:
    """Reads sequences as channels. Raises VolumeError if one is unreadable or not on the grid of the first."""
    first = read_pair(images[0])
    volumes = [first.image[0]]
    for path in images[1:]:
        with naming(path):
            volume = read_volume(path)
            if not same_grid(volume, SampleGrid(first)):
                raise VolumeError("wrong_geometry", f"It is not on the grid of {images[0].name}.", "Register it first.")
        volumes.append(volume.array.astype(np.float32))
    if label is None:
        return Sample(np.stack(volumes), None, first.affine)
    with naming(label):
        return Sample(np.stack(volumes), read_label(label, values, SampleGrid(first)).array, first.affine)


def _studies(path: Path, depth: int = DEPTH) -> Iterator[Study]:
    """Folders with at least one sequence, in the order of their names."""
    if not path.is_dir() or path.name.startswith("."):
        return
    files = {kind: file for file in find_images(path) if (kind := _kind(file))}
    if set(files) - {"seg"}:
        yield Study(path, files)
    elif depth:
        for folder in sorted(path.iterdir()):
            yield from _studies(folder, depth - 1)


def _kind(file: Path) -> str | None:
    return NAMES.get(re.split(r"[-_]", stem(file).lower())[-1])


def _check_sequences(studies: list[Study], sequences: Sequence[str]) -> None:
    lacking = {s.folder.name: [n for n in sequences if n not in s.files] for s in studies}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if lacking:
        some = "; ".join(f"{name}: {', '.join(missing)}" for name, missing in list(lacking.items())[:5])
        raise CasesError(
            f"{len(lacking)} of {len(studies)} studies lack a sequence ({some}). "
            "Complete or remove them, or name the sequences that all have."
        )


def _labels(studies: list[Study]) -> dict[str, int]:
    """Labels by the year in the studies' names; none where a challenge has others, such as the children's."""
    schemes = {_scheme(study) for study in studies if "seg" in study.files} or set(map(_scheme, studies))
    if schemes == {"2023", "2024"}:  # before and after treatment, as 2025 has them in one set
        schemes = {"2024"}
    if len(schemes) > 1:
        raise CasesError(f"Studies of several label schemes are mixed: {', '.join(sorted(schemes))}. Open each alone.")
    return dict(LABELS[schemes.pop()])


def _scheme(study: Study) -> str:
    """A key of LABELS, by the folder's name or the suffixes: t1n, t2w and t2f are of 2023 and later."""
    words = {re.split(r"[-_]", stem(file).lower())[-1] for file in study.files.values()}
    if found := NEW_NAME.match(study.folder.name):
        challenge, time_point = found.group(2).upper(), int(found.group(3))
        if challenge == "GLI" and time_point >= TREATED:
            return "2024"
        return "2023" if challenge in ADULTS else f"BraTS-{challenge}"
    return "2023" if words & {"t1n", "t2w", "t2f"} else "2021"


def _entry(study: Study, sequences: tuple[str, ...], labels: Mapping[str, int]) -> Entry:
    images, label = [study.files[name] for name in sequences], study.files.get("seg")
    return Entry(
        id=study.folder.name,
        patient=patient(study.folder.name),
        read=partial(read_study, images, label, tuple(labels.values()) or None),
        files=(*images, *([label] if label else [])),
    )

"""Lists of image and label pairs, and the fixed split of patients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.data.volumes import SUFFIXES


class CasesError(ValueError):
    """Cases that do not suffice for what is asked of them; says what is missing."""


@dataclass(frozen=True)
class Case:
    """One image with its label. `id` names the patient."""

    id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Split:
    """Patients by use. No patient is in two parts."""

    train: list[Case]
    validation: list[Case]
    test: list[Case]


def stem(path: Path) -> str:
    """File name without its image suffix."""
    name = path.name
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), path.suffix)
    return name[: len(name) - len(suffix)] if suffix else name


def find_cases(folder: Path | str) -> list[Case]:
    """Pairs `folder/images/*` with the files of the same name in `folder/labels`, sorted by name; hidden files are not.

    Raises:
        FileNotFoundError: a folder or a partner is missing, or there are no pairs; says which.
    """
    folder = Path(folder)
    images, labels = folder / "images", folder / "labels"
    for part in (images, labels):
        if not part.is_dir():
            raise FileNotFoundError(
                f"There is no folder {part}. Expected images/ and labels/ with the same file names."
            )
    names = [p.name for p in find_images(images)]
    missing = [name for name in names if not (labels / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} images have no label of the same name, the first is {missing[0]}.")
    if not names:
        raise FileNotFoundError(f"There are no images in {images}. Known suffixes: {', '.join(SUFFIXES)}.")
    return [Case(stem(images / name), images / name, labels / name) for name in names]


def find_images(folder: Path) -> list[Path]:
    """Volume files in `folder`, sorted by name; hidden files are not."""
    return sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES) and not p.name.startswith("."))


def hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone: the first 64 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split_cases(
    cases: Sequence[Case], validation: int, test: int, patient: Callable[[Case], str] = lambda case: case.id
) -> Split:
    """Splits by patient: patients in the order of their id's hash; the first `test`, then `validation`, rest trains.

    The order does not depend on the machine, the file system or a seed.
    """
    order = sorted({patient(case) for case in cases}, key=hash_fraction)
    held, tuned = set(order[:test]), set(order[test : test + validation])
    used = held | tuned
    return Split(
        [c for c in cases if patient(c) not in used],
        [c for c in cases if patient(c) in tuned],
        [c for c in cases if patient(c) in held],
    )

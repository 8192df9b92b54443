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
    """One image with its label. `id` names the patient as well, unless `patient` is told."""

    id: str
    image: Path
    label: Path
    patient: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "patient", self.patient or self.id)


@dataclass(frozen=True)
class Split:
    """Patients by use. No patient is in two parts."""

    train: list[Case]
    validation: list[Case]
    test: list[Case]


def stem(path: Path) -> str:
    """File name without its image suffix; of the one volume in a folder that is named as a file, the folder's."""
    name = path.parent.name if wrapped_volume(path.parent) == path else path.name
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
    names = [p.relative_to(images) for p in find_images(images)]
    missing = [name for name in names if not (labels / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} images have no label of the same name, the first is {missing[0]}.")
    if not names:
        raise FileNotFoundError(f"There are no images in {images}. Known suffixes: {', '.join(SUFFIXES)}.")
    return [Case(stem(images / name), images / name, labels / name) for name in names]


def find_images(folder: Path) -> list[Path]:
    """Volume files in `folder`, sorted by name; hidden files are not.

    A folder that is named as a file and holds one volume, `x-t1c.nii/0000_t1c.nii`, as archives unpacked by Kaggle have
    them, stands for that volume.
    """
    named = sorted(p for p in folder.iterdir() if is_volume_name(p.name))
    return [file for p in named if (file := wrapped_volume(p) if p.is_dir() else p)]


def wrapped_volume(folder: Path) -> Path | None:
    """The one volume in a folder that is named as a file; None for other folders."""
    if not is_volume_name(folder.name) or not folder.is_dir():
        return None
    files = [p for p in folder.iterdir() if is_volume_name(p.name) and p.is_file()]
    return files[0] if len(files) == 1 else None


def is_volume_name(name: str) -> bool:
    """Tells whether a name is that of a volume file; hidden ones are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone: the first 64 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split_cases(
    cases: Sequence[Case], validation: int, test: int, patient: Callable[[Case], str] = lambda case: case.patient
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

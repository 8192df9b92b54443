"""Whether the sub-folders of a set are classes or patients, by their names and by how many images they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

SUBJECT = re.compile(
    r"sub-[a-z0-9]+|(sub|subj|subject|pat|patient|participant|volunteer|case)[-_ ]?[a-z]?\d[\w.-]*", re.IGNORECASE
)
"""`sub-00` (BIDS), `patient_7`, `Case12`; not `grade1`, which is a class."""
SHORT = re.compile(r"[ps][-_ ]?\d{2,}", re.IGNORECASE)  # P01, s12
NUMBERED = re.compile(r".*\d{3,}")  # LUNG1-001, TCGA-02-0003
MANY = 10  # folders; sets with more classes have more images of each
FEW = 10  # images of a folder, on average
NAMED = 3  # folders that a note names


def are_patients(found: Mapping[str, Sequence[Path]]) -> bool:
    """Tells whether folders are patients rather than classes.

    They are if most are named like a subject (`sub-00`, `patient_7`, `P01`), or if they hold few images each (10 on
    average at the most) and either most names end in three or more digits or there are many folders (10 at the least).

    Args:
        found: images by the name of their folder.
    """
    if _most(SUBJECT, found) or _most(SHORT, found):
        return True
    few = 0 < sum(map(len, found.values())) <= FEW * len(found)
    return few and (len(found) >= MANY or _most(NUMBERED, found))


def subject_folder(id: str) -> str | None:
    """The first folder in an image's path, as seen from the set's folder, that is named like a subject."""
    return next((part for part in PurePosixPath(id).parts[:-1] if SUBJECT.fullmatch(part)), None)


def note(folders: Sequence[str], patients: bool) -> str:
    """What sub-folders were taken for, and how to have it otherwise."""
    some = ", ".join(folders[:NAMED]) + (", …" if len(folders) > NAMED else "")
    taken, other, option = ("patients", "classes", True) if patients else ("classes", "patients", False)
    one = f"sub-folder ({some}) is taken for a {'patient' if patients else 'class'}"
    many = f"{len(folders)} sub-folders ({some}) are taken for {taken}"
    return f"The {many if len(folders) > 1 else one}; classes={option} takes sub-folders for {other}."


def _most(pattern: re.Pattern[str], names: Mapping[str, Sequence[Path]]) -> bool:
    return 2 * sum(pattern.fullmatch(name) is not None for name in names) > len(names)

"""Which patients are learned from and which only measured on: decided once for each patient, by hash, and kept.

<data>/splits/<model>.json      {"patients": {"patient-7": "train", "patient-9": "validation"}}
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from filelock import FileLock

from monailabel_app.errors import MedGANError
from trainers.data.cases import hash_fraction
from trainers.files import atomic_write_json, read_json

T = TypeVar("T")
Part = Literal["train", "validation"]
ROUNDING = 1e-9
SHARE = 0.2  # of patients that are measured on
PLENTY = 4  # from so many patients on, at least two are measured on


def patient_of(study: str, pattern: str = "", known: str = "") -> str:
    """The patient that a study belongs to.

    Args:
        study: its id.
        pattern: regular expression whose match at the id's start, or that match's first group, names the patient.
        known: the patient as told by the study itself (DICOM); wins.
    """
    if known:
        return known
    match = re.match(pattern, study) if pattern else None
    if not match or not match.group():
        return study
    return str(match.group(1) if match.groups() and match.group(1) else match.group())


def check_enough(studies: int, synthetic: int = 0, left_out: Sequence[str] = ()) -> None:
    """Raises MedGANError `too_few_labels` if there is nothing to learn from.

    Args:
        studies: acquired ones with labels. One is enough to learn from; what it can promise is told with the run.
        synthetic: labelled ones beside them, which help to learn but cannot stand for patients.
        left_out: labelled ones that cannot be learned from, each with the reason.
    """
    if studies:
        return
    message = "No labelled study can be learned from."
    message += f" Synthetic ones do not count; there are {synthetic}." if synthetic else ""
    message += f" Left out: {len(left_out)}, of them {left_out[0]}" if left_out else ""
    raise MedGANError("too_few_labels", message, "Label at least one and submit it as final.")


def usual_part(patient: str) -> Part:
    """What a patient is for by hash alone: so most are decided on when they get a label."""
    return "validation" if hash_fraction(patient) < SHARE else "train"


def assign(patients: Collection[str], known: Mapping[str, Part]) -> dict[str, Part]:
    """Gives every new patient a part; those in `known` keep theirs.

    About one in five new patients, by hash, is measured on; more if otherwise there would be none, or only one when
    there are four patients or more; never all.

    Args:
        patients: all patients with labels.
        known: earlier decisions.
    """
    parts: dict[str, Part] = dict(known)
    new = sorted(set(patients) - set(known), key=lambda p: (hash_fraction(p), p))
    present = [parts[p] for p in patients if p in parts]
    least = 2 if len(set(patients)) >= PLENTY else 1
    for place, patient in enumerate(new):
        held = present.count("validation")
        wanted = usual_part(patient) == "validation" or held < least
        last_chance = place == len(new) - 1 and "train" not in present
        parts[patient] = "validation" if wanted and not last_chance else "train"
        present.append(parts[patient])
    return parts


def within_ratio(synthetic: Sequence[T], acquired: int, ratio: float) -> tuple[list[T], list[T]]:
    """Parts synthetic studies into those that are learned from and those that would be too many.

    Args:
        synthetic: those to be kept first come first.
        acquired: how many other studies are learned from.
        ratio: synthetic studies for each acquired one, at most.
    """
    most = math.floor(ratio * acquired + ROUNDING)
    return list(synthetic[:most]), list(synthetic[most:])


def forget_patient(folder: Path, patient: str) -> None:
    """Drops a patient of whom no study is left from the stored decisions of all models."""
    for path in sorted(folder.glob("*.json")):
        with _locked(path):
            known = read_json(path)["patients"]
            if known.pop(patient, None):
                atomic_write_json(path, {"patients": known})


def _locked(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"), timeout=60)


class Splits:
    """The stored decisions of one model."""

    def __init__(self, folder: Path, model: str) -> None:
        self._path = folder / f"{model}.json"
        folder.mkdir(parents=True, exist_ok=True)

    def update(self, patients: Collection[str]) -> dict[str, Part]:
        """Decides for new patients and stores that before it is used. Returns the part of every patient ever seen."""
        with _locked(self._path):
            known: dict[str, Part] = read_json(self._path)["patients"] if self._path.exists() else {}
            parts = assign(patients, known)
            if parts != known:
                atomic_write_json(self._path, {"patients": parts})
        return parts

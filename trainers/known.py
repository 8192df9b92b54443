"""Which patients a model has seen, and which not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from trainers.data.sets import CLASSES, DataSet, Entry
from trainers.spec import ModelSpec

PATTERN, SUB_FOLDERS = "patient_pattern", "sub_folders"
HASH_DIGITS = 16
"""Hexadecimal digits that stand for a patient: of a million, two have the same in one of 40 million sets."""


def named_by(data: DataSet) -> dict[str, str]:
    """What a spec keeps of how patients were named, for them to be known again: what was said of it, if anything."""
    said = {PATTERN: data.patient_pattern, SUB_FOLDERS: data.sub_folders}
    return {key: value for key, value in said.items() if value}


def pattern_of(spec: ModelSpec) -> str:
    """The pattern by which a model's patients were named; empty if there was none."""
    return str(spec.training.get(PATTERN, ""))


def classes_of(spec: ModelSpec) -> bool | None:
    """What sub-folders were said to be at a model's training: classes (True) or patients (False); None if nothing."""
    said = spec.training.get(SUB_FOLDERS)
    return None if said is None else said == CLASSES


def split_known(spec: ModelSpec, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries that a model did not learn from, and those that it did, by their patients; watched ones in neither.

    A model of many patients keeps a hash of each. Older ones keep a fingerprint of them all: of a part of its own set,
    which is known by the test patients, only these are then sure not to be among them.
    """
    stored = spec.training.get("patients", {})
    apart = {part: set(stored.get(part) or ()) for part in ("train", "validation", "test")}
    rest = [e for e in entries if e.patient not in apart["validation"] | apart["test"]]
    if stored.get("train_hashes"):
        hashes = _apart(stored["train_hashes"])
        known = [e for e in rest if _hash(e.patient) in hashes]
    elif stored.get("train") is None:
        known = rest if fingerprint(rest) == stored.get("train_fingerprint") else []
    else:
        known = [e for e in rest if e.patient in apart["train"]]
    if _has_fingerprint_alone(spec) and not known and apart["test"] & {e.patient for e in entries}:
        return [e for e in entries if e.patient in apart["test"]], []
    learned = {e.id for e in known}
    return [e for e in entries if e.id not in learned and e.patient not in apart["validation"]], known


def may_be_known(spec: ModelSpec, entries: Sequence[Entry]) -> bool:
    """Tells whether entries that `split_known` takes for unknown may be of patients whom the model learned from.

    A model with the fingerprint of all its patients does not tell single ones, and without a test patient among the
    entries it is not known whether they are of its own set.
    """
    unknown, known = split_known(spec, entries)
    test = set(spec.training.get("patients", {}).get("test") or ())
    return _has_fingerprint_alone(spec) and bool(unknown) and not known and not test & {e.patient for e in entries}


def all_known(spec: ModelSpec, entries: Sequence[Entry], what: str, where: str) -> str:
    """Why no entry is left to measure on: `what` they are, and `where`."""
    learned = len(split_known(spec, entries)[1])
    watched = len(entries) - learned
    if not watched:
        return f"The model learned from all {what} in {where}. Give others."
    if not learned:
        return f"All {what} in {where} were watched while the model learned. Give others."
    return (
        f"The model learned from {learned} of the {what} in {where}, and the other {watched} were watched meanwhile. "
        "Give others."
    )


def fingerprint(entries: Sequence[Entry]) -> str:
    """One text for a set of patients, whatever their order."""
    return hashlib.sha256("\n".join(sorted({e.patient for e in entries})).encode()).hexdigest()


def hashes_of(patients: Collection[str]) -> str:
    """A hash of each patient, `HASH_DIGITS` each and one after another, in their own order."""
    return "".join(sorted(map(_hash, set(patients))))


def _has_fingerprint_alone(spec: ModelSpec) -> bool:
    stored = spec.training.get("patients", {})
    return bool(stored.get("train_fingerprint")) and not stored.get("train") and not stored.get("train_hashes")


def _hash(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()[:HASH_DIGITS]


def _apart(hashes: str) -> set[str]:
    return {hashes[start : start + HASH_DIGITS] for start in range(0, len(hashes), HASH_DIGITS)}

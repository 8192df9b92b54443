"""Which patients a model has seen, and which not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trainers.data.sets import Entry
from trainers.spec import ModelSpec


def split_known(spec: ModelSpec, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries that a model did not learn from, and those that it did, by their patients; watched ones in neither.

    A model of many patients names none of those that it learned from. Of a part of its own set, which is known by the
    test patients, only these are then sure not to be among them.
    """
    stored = spec.training.get("patients", {})
    apart = {part: set(stored.get(part) or ()) for part in ("train", "validation", "test")}
    rest = [e for e in entries if e.patient not in apart["validation"] | apart["test"]]
    if stored.get("train") is None:
        known = rest if fingerprint(rest) == stored.get("train_fingerprint") else []
    else:
        known = [e for e in rest if e.patient in apart["train"]]
    if stored.get("train_fingerprint") and not known and apart["test"] & {e.patient for e in entries}:
        return [e for e in entries if e.patient in apart["test"]], []
    learned = {e.id for e in known}
    return [e for e in entries if e.id not in learned and e.patient not in apart["validation"]], known


def fingerprint(entries: Sequence[Entry]) -> str:
    """One text for a set of patients, whatever their order."""
    return hashlib.sha256("\n".join(sorted({e.patient for e in entries})).encode()).hexdigest()

"""Training, validation and test: a data set split by patient, chosen once by hash and stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainers.data.cases import CasesError, hash_fraction
from trainers.data.sets import DataSet, Entry
from trainers.files import atomic_write_json, read_json

FORMAT = 1
PARTS = ("train", "validation", "test")
OWN_NAMES = {  # what sets call their parts -> ours
    **{"train": "train", "training": "train", "tr": "train"},
    **{"val": "validation", "valid": "validation", "validation": "validation"},
    **{"test": "test", "testing": "test", "ts": "test"},
}


@dataclass(frozen=True)
class DataSplit:
    """Entries by use. No patient is in two parts; all are in the set's order.

    Attributes:
        left_out: entries in no part, such as training images of a patient whom the set's own test part has too.
    """

    train: list[Entry]
    validation: list[Entry]
    test: list[Entry]
    left_out: list[Entry] = field(default_factory=list)


def split_data(
    data: DataSet,
    validation: int | float = 0.1,
    test: int | float = 0.1,
    stratify: bool = False,
    own_parts: bool = False,
) -> DataSplit:
    """Splits by patient. Which patients are held out depends on their ids alone, not on order, machine or seed.

    Patients are taken in the order of their ids' hashes, as `split_cases` does: first the test, then the validation.

    Args:
        data: the set.
        validation: how many patients (int), or what share of them (float below 1).
        test: the same.
        stratify: whether each part gets its share of every class. A patient with images of several classes counts as a
            kind of its own.
        own_parts: whether to keep the set's own train, val and test; a part that it lacks is taken from its training
            patients. If it has a patient in two parts, the test keeps them, then the validation; the rest is left out.

    Raises:
        CasesError: too few patients, a wrong share, no classes to stratify by, or no own parts to keep.
    """
    own = _own(data) if own_parts else {entry.id: "train" for entry in data.entries}
    kept = _without_repeats(data, own)
    kinds = _kinds(data, [entry for entry in kept if own[entry.id] == "train"], stratify)
    wanted = {
        part: 0 if part in own.values() else _count(number, len(kinds), part)
        for part, number in (("test", test), ("validation", validation))
    }
    if sum(wanted.values()) >= len(kinds):
        raise CasesError(
            f"{data.name} has {len(kinds)} patients to choose from; {wanted['validation']} for validation and "
            f"{wanted['test']} for test leave none to train on. Ask for fewer."
        )
    drawn = _draw(kinds, wanted)
    return _by_part(data, {entry.id: drawn.get(entry.patient, own[entry.id]) for entry in kept})


def save_split(path: Path | str, split: DataSplit, data: DataSet) -> None:
    """Writes which entries are in which part, as JSON, all or nothing."""
    parts = {part: [entry.id for entry in getattr(split, part)] for part in (*PARTS, "left_out")}
    atomic_write_json(path, {"format": FORMAT, "data": data.name, **parts})


def load_split(path: Path | str, data: DataSet) -> DataSplit:
    """Reads a stored split of `data`. Entries that are new since then are left out: the parts never change.

    Raises:
        FileNotFoundError: there is no such file.
        CasesError: it is damaged, names entries that the set no longer has, or has a patient or entry in two parts.
    """
    stored = _read(Path(path))
    entries = {entry.id: entry for entry in data.entries}
    gone = [id for part in PARTS for id in stored[part] if id not in entries]
    if gone:
        raise CasesError(
            f"{path} names {len(gone)} entries that {data.name} does not have, the first is {gone[0]}. "
            "Open the set with the options of that time, put the images back, or split anew."
        )
    _check_apart({part: [entries[id] for id in stored[part]] for part in PARTS}, Path(path))
    return _by_part(data, {id: part for part in PARTS for id in stored[part]})


def stored_split(path: Path, data: DataSet, make: Callable[[], DataSplit], write: bool = True) -> DataSplit:
    """The split that is stored in `path` or, if there is none, a new one, which is stored if `write`.

    Raises:
        CasesError: as `load_split` and `make` do.
    """
    if path.is_file():
        return load_split(path, data)
    split = make()
    if write:
        save_split(path, split, data)
    return split


def _own(data: DataSet) -> dict[str, str]:
    """The set's own part of each entry that is in one."""
    names = {name: OWN_NAMES[name.lower()] for name in data.parts if name.lower() in OWN_NAMES}
    if "train" not in names.values():
        known = ", ".join(data.parts) or "none"
        raise CasesError(f"{data.name} has no train part of its own (parts: {known}). Split it without own_parts.")
    return {id: part for name, part in names.items() for id in data.parts[name]}


def _without_repeats(data: DataSet, own: Mapping[str, str]) -> list[Entry]:
    """Entries that are in the strictest part which their patient is in."""
    strictest: dict[str, str] = {}
    entries = [entry for entry in data.entries if entry.id in own]
    for entry in entries:
        strictest[entry.patient] = max(strictest.get(entry.patient, "train"), own[entry.id], key=PARTS.index)
    return [entry for entry in entries if own[entry.id] == strictest[entry.patient]]


def _kinds(data: DataSet, entries: list[Entry], stratify: bool) -> dict[str, tuple[int, ...]]:
    """The classes of each patient's images, for stratifying; else nothing of each patient."""
    if not entries:
        raise CasesError(f"{data.name} has no patients to train on.")
    found: dict[str, set[int]] = {entry.patient: set() for entry in entries}
    if stratify:
        for entry in entries:
            if entry.target is not None:
                found[entry.patient].add(entry.target)
        if not any(found.values()):
            raise CasesError(f"{data.name} tells no classes to stratify by. Split it without.")
    return {patient: tuple(sorted(targets)) for patient, targets in found.items()}


def _count(number: int | float, patients: int, part: str) -> int:
    """A number of patients; a share above 0 is at least one."""
    if isinstance(number, float):
        if not 0 <= number < 1:
            raise CasesError(f"The share for {part} must be at least 0 and below 1, not {number}.")
        return max(1, round(number * patients)) if number else 0
    if number < 0:
        raise CasesError(f"The number of patients for {part} cannot be {number}.")
    return number


def _draw(kinds: Mapping[str, tuple[int, ...]], wanted: Mapping[str, int]) -> dict[str, str]:
    """Patients that are held out, by part: of each kind its share, those with the smallest hashes."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for patient in sorted(kinds, key=hash_fraction):
        groups.setdefault(kinds[patient], []).append(patient)
    drawn: dict[str, str] = {}
    for part, number in wanted.items():
        for kind, quota in _quotas({kind: len(groups[kind]) for kind in sorted(groups)}, number).items():
            drawn.update(dict.fromkeys(groups[kind][:quota], part))
            del groups[kind][:quota]
    return drawn


def _quotas(sizes: Mapping[tuple[int, ...], int], number: int) -> dict[tuple[int, ...], int]:
    """Shares `number` out in proportion to the sizes, by the largest remainders."""
    total = max(1, sum(sizes.values()))
    shares = {kind: divmod(number * size, total) for kind, size in sizes.items()}
    spare = number - sum(whole for whole, _ in shares.values())
    first = sorted(shares, key=lambda kind: -shares[kind][1])[:spare]
    return {kind: whole + (kind in first) for kind, (whole, _) in shares.items()}


def _by_part(data: DataSet, part_of: Mapping[str, str]) -> DataSplit:
    train, validation, test = ([e for e in data.entries if part_of.get(e.id) == part] for part in PARTS)
    return DataSplit(train, validation, test, [e for e in data.entries if e.id not in part_of])


def _read(path: Path) -> dict[str, list[str]]:
    try:
        stored = read_json(path)
    except ValueError as error:
        raise CasesError(f"{path} is not a stored split: {error}.") from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise CasesError(f"{path} is not a stored split of format {FORMAT}. Split the set anew.")
    for part in PARTS:
        if not isinstance(stored.get(part), list) or not all(isinstance(id, str) for id in stored[part]):
            raise CasesError(f"{path} has no list of entries for {part}. It is damaged; split the set anew.")
    return {part: stored[part] for part in PARTS}


def _check_apart(parts: Mapping[str, Sequence[Entry]], path: Path) -> None:
    """Raises CasesError if an entry is named twice or a patient is in two parts."""
    named = Counter(entry.id for entries in parts.values() for entry in entries)
    twice = [id for id, count in named.items() if count > 1]
    if twice:
        raise CasesError(f"{path} names {len(twice)} entries twice, the first is {twice[0]}. Split the set anew.")
    seen: dict[str, str] = {}
    for part, entries in parts.items():
        for entry in entries:
            if seen.setdefault(entry.patient, part) != part:
                raise CasesError(
                    f"{path} has the patient {entry.patient} in both {seen[entry.patient]} and {part}. Split the set "
                    "anew, or open it with the patient_pattern of that time."
                )

"""Splits by patient: never mixed, always the same, by class and by the set's own parts; stored and read back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.cases import Case, CasesError, split_cases
from trainers.data.readers import open_data
from trainers.data.sets import DataSet, Entry, Sample
from trainers.data.splits import DataSplit, load_split, save_split, split_data


def nothing() -> Sample:
    return Sample(np.zeros((1, 2, 2), np.float32))


def made(patients: list[str], targets: list[int] | None = None, **parts: list[int]) -> DataSet:
    """An entry for each patient named, `e0`, `e1`, …; parts by position."""
    entries = [Entry(f"e{n}", p, nothing, targets[n] if targets else None) for n, p in enumerate(patients)]
    return DataSet("made", entries, parts={name: [f"e{n}" for n in numbers] for name, numbers in parts.items()})


def names(split: DataSplit) -> dict[str, list[str]]:
    return {part: [e.id for e in getattr(split, part)] for part in ("train", "validation", "test", "left_out")}


def patients(entries: list[Entry]) -> set[str]:
    return {entry.patient for entry in entries}


MANY = made([f"p{n % 40}" for n in range(100)], [n % 40 % 4 == 0 for n in range(100)])


@settings(max_examples=100, deadline=None)
@given(
    who=st.lists(st.integers(0, 12), min_size=3, max_size=60), classes=st.integers(1, 3), seed=st.integers(0, 9),
    validation=st.one_of(st.integers(0, 2), st.floats(0, 0.4)), test=st.one_of(st.integers(0, 2), st.floats(0, 0.4)),
    stratify=st.booleans(),
)  # fmt: skip
def test_no_patient_is_in_two_parts_and_the_numbers_are_exact(
    who: list[int], classes: int, seed: int, validation: float, test: float, stratify: bool
) -> None:
    targets = np.random.default_rng(seed).integers(0, classes, len(who)).tolist()
    data = made([f"p{n}" for n in who], targets)
    everyone = patients(data.entries)
    wanted = [(max(1, round(n * len(everyone))) if n else 0) if isinstance(n, float) else n for n in (validation, test)]
    if sum(wanted) >= len(everyone):
        with pytest.raises(CasesError, match="leave none to train on"):
            split_data(data, validation, test, stratify)
        return
    split = split_data(data, validation, test, stratify)
    parts = [patients(part) for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in parts[1:]] == wanted
    assert sum(map(len, parts)) == len(everyone) == len(set.union(*parts))
    assert not split.left_out
    shuffled = replace(data, entries=data.entries[::-1])
    assert patients(split_data(shuffled, validation, test, stratify).test) == parts[2]


def test_the_same_patients_as_with_cases() -> None:
    cases = [Case(f"p{n}", Path(f"{n}"), Path(f"{n}")) for n in range(40)]
    expected = split_cases(cases, validation=5, test=7)
    split = split_data(MANY, 5, 7)
    assert patients(split.test) == {case.id for case in expected.test}
    assert patients(split.validation) == {case.id for case in expected.validation}


def test_a_known_split_stays_as_it_is() -> None:
    """If this fails, every stored figure was measured on other patients."""
    split = split_data(made([f"p{n}" for n in range(10)]), 2, 2)
    assert names(split)["test"] == ["e0", "e7"]
    assert names(split)["validation"] == ["e2", "e9"]


def test_each_part_has_its_share_of_every_class() -> None:
    """30 patients of class 0 and 10 of class 1."""
    split = split_data(MANY, 8, 0.2, stratify=True)
    for part in (split.validation, split.test):
        assert Counter({e.patient: e.target for e in part}.values()) == {0: 6, 1: 2}


def test_a_patient_with_images_of_two_classes_is_a_kind_of_its_own() -> None:
    who = [f"p{n // 2}" for n in range(24)]
    targets = [0, 0] * 4 + [1, 1] * 4 + [0, 1] * 4
    split = split_data(made(who, targets), 0, 3, stratify=True)
    kinds = {p: tuple(sorted(e.target or 0 for e in split.test if e.patient == p)) for p in patients(split.test)}
    assert sorted(kinds.values()) == [(0, 0), (0, 1), (1, 1)]


def test_the_sets_own_parts_are_kept() -> None:
    data = made(list("abcdef"), train=[0, 1, 2], val=[3], test=[4, 5])
    expected = {"train": ["e0", "e1", "e2"], "validation": ["e3"], "test": ["e4", "e5"], "left_out": []}
    assert names(split_data(data, 0.5, 0.5, own_parts=True)) == expected


def test_a_part_that_the_set_lacks_is_taken_from_its_training_patients() -> None:
    data = made([f"p{n}" for n in range(10)], train=list(range(8)), test=[8, 9])
    split = split_data(data, 3, 5, own_parts=True)
    assert [e.id for e in split.test] == ["e8", "e9"]
    assert len(split.validation) == 3 and len(split.train) == 5


def test_repeats_of_held_out_images_do_not_train() -> None:
    """Patient a is in all parts, b in train and val; e6 is in none."""
    data = made(list("abcabax"), train=[0, 1, 2], val=[3, 4], test=[5])
    assert names(split_data(data, own_parts=True)) == {
        "train": ["e2"], "validation": ["e4"], "test": ["e5"], "left_out": ["e0", "e1", "e3", "e6"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"validation": 6, "test": 4},
            "made has 10 patients to choose from; 6 for validation and 4 for test leave none",
        ),
        ({"validation": -1}, "patients for validation cannot be -1"),
        ({"test": 1.0}, r"share for test must be at least 0 and below 1, not 1\.0"),
        ({"stratify": True}, "made tells no classes to stratify by"),
        ({"own_parts": True}, r"made has no train part of its own \(parts: subset0\)"),
    ],
)
def test_what_cannot_be_asked_for(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CasesError, match=message):
        split_data(made([f"p{n}" for n in range(10)], subset0=[0]), **arguments)


def test_an_empty_set() -> None:
    with pytest.raises(CasesError, match="no patients to train on"):
        split_data(made([]))


def test_a_split_is_stored_and_read_back(tmp_path: Path) -> None:
    split = split_data(MANY, 5, 5)
    save_split(tmp_path / "split.json", split, MANY)
    assert names(load_split(tmp_path / "split.json", MANY)) == names(split)
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]


def test_new_entries_are_left_out_of_an_old_split(tmp_path: Path) -> None:
    save_split(tmp_path / "split.json", split_data(MANY, 5, 5), MANY)
    more = replace(MANY, entries=[*MANY.entries, Entry("new", "p0", nothing)])
    assert names(load_split(tmp_path / "split.json", more))["left_out"] == ["new"]


def test_entries_that_are_gone_are_named(tmp_path: Path) -> None:
    save_split(tmp_path / "split.json", split_data(MANY, 5, 5), MANY)
    with pytest.raises(CasesError, match=r"split\.json names 98 entries that made does not have, the first is e"):
        load_split(tmp_path / "split.json", replace(MANY, entries=MANY.entries[:2]))


def test_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    """Opened with another pattern, what were two patients are one."""
    data = made(["a1", "a2", "b1", "b2"])
    save_split(tmp_path / "split.json", split_data(data, 1, 1), data)
    one = replace(data, entries=[replace(entry, patient=entry.patient[0]) for entry in data.entries])
    with pytest.raises(CasesError, match=r"has the patient [ab] in both \w+ and \w+\. .*patient_pattern"):
        load_split(tmp_path / "split.json", one)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a stored split"),
        ("[]", "not a stored split of format 1"),
        ('{"format": 2}', "not a stored split of format 1"),
        ('{"format": 1, "train": ["e0"]}', "no list of entries for validation"),
        (
            json.dumps({"format": 1, "train": ["e0"], "validation": ["e0"], "test": []}),
            "1 entries twice, the first is e0",
        ),
        (json.dumps({"format": 1, "train": [0], "validation": [], "test": []}), "no list of entries for train"),
    ],
)
def test_a_damaged_split(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(CasesError, match=message):
        load_split(tmp_path / "split.json", MANY)


def test_no_stored_split(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_split(tmp_path / "split.json", MANY)


@pytest.mark.realdata
def test_pneumoniamnist_by_its_own_parts(real_data: Path) -> None:
    """Eight images of its validation are repeats of training images."""
    data = open_data(real_data / "pneumoniamnist")
    split = split_data(data, 0.1, 0.1, stratify=True, own_parts=True)
    assert len(split.validation) == 524
    assert len(split.left_out) >= 8 and all(entry.id.startswith("train") for entry in split.left_out)
    assert not patients(split.train) & (patients(split.validation) | patients(split.test))
    shares = [np.mean([entry.target or 0 for entry in part]) for part in (split.train, split.test)]
    assert abs(shares[0] - shares[1]) < 0.01

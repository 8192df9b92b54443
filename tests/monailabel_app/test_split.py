"""The split: disjoint, fixed for ever, never empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monailabel_app.errors import MedGANError
from monailabel_app.finetune.split import Splits, assign, check_enough, forget_patient, patient_of
from trainers.files import read_json

names = st.text("abcdefghij0123456789", min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(st.sets(names, min_size=1, max_size=6), min_size=1, max_size=8))
def test_a_patient_never_changes_part_however_labels_arrive(arrivals: list[set[str]]) -> None:
    parts: dict[str, str] = {}
    present: set[str] = set()
    for arrival in arrivals:
        present |= arrival
        earlier = dict(parts)
        parts = assign(present, parts)
        assert earlier.items() <= parts.items()
        assert set(parts) == present


@settings(deadline=None)
@given(st.sets(names, min_size=2, max_size=40))
def test_both_parts_are_there(patients: set[str]) -> None:
    parts = list(assign(patients, {}).values())
    assert "train" in parts
    assert parts.count("validation") >= (2 if len(patients) >= 4 else 1)


def test_about_one_in_five_is_measured_on() -> None:
    parts = list(assign({f"patient-{n}" for n in range(1000)}, {}).values())
    assert 160 < parts.count("validation") < 240


def test_the_rule_does_not_depend_on_order() -> None:
    patients = [f"p{n}" for n in range(20)]
    assert assign(patients, {}) == assign(patients[::-1], {})


def test_decisions_are_stored_and_kept(tmp_path: Path) -> None:
    first = Splits(tmp_path, "m").update({"a", "b", "c"})
    again = Splits(tmp_path, "m").update({"a", "b", "c", "d", "e", "f"})
    assert first.items() <= again.items()
    assert Splits(tmp_path, "m").update({"a"}) == again


@pytest.mark.parametrize(
    ("study", "pattern", "known", "patient"),
    [
        ("P01_visit2", "", "", "P01_visit2"),
        ("P01_visit2", r"P\d+", "", "P01"),
        ("sub-7_left", r"sub-(\d+)", "", "7"),
        ("other", r"P\d+", "", "other"),
        ("dicom-1", r"d", "patient-x", "patient-x"),
    ],
)
def test_patient_of_a_study(study: str, pattern: str, known: str, patient: str) -> None:
    assert patient_of(study, pattern, known) == patient


def test_none_is_too_few_and_one_is_enough() -> None:
    with pytest.raises(MedGANError, match="Synthetic ones do not count; there are 4") as caught:
        check_enough(0, 4)
    assert caught.value.code == "too_few_labels"
    assert caught.value.hint
    check_enough(1)


def test_a_patient_who_is_gone_is_forgotten(tmp_path: Path) -> None:
    for model in ("a", "b"):
        Splits(tmp_path, model).update({"p1", "p2"})
    forget_patient(tmp_path, "p1")
    forget_patient(tmp_path, "nobody")
    assert [list(read_json(tmp_path / f"{model}.json")["patients"]) for model in ("a", "b")] == [["p2"], ["p2"]]
    forget_patient(tmp_path / "none", "p1")

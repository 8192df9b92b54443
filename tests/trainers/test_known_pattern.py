"""The pattern that tells patients: kept with the model, and used again to know them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from trainers.commands.shared import known_pattern
from trainers.data.cases import CasesError
from trainers.data.readers import open_data
from trainers.data.readers.sequences import open_aligned
from trainers.known import named_by, pattern_of
from trainers.spec import ModelSpec

PATTERN = "(p[0-9])_"
SPEC = ModelSpec("m", "synthesis", "M", "", {"name": "UNet"}, {})
LEARNED = SPEC.replace(training={"patient_pattern": PATTERN})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("p1_left", "p1_right", "p2_left"):
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "data" / f"{name}.png")
    return tmp_path / "data"


def test_a_set_knows_how_its_patients_were_told(pictures: Path) -> None:
    data = open_data(pictures, patient_pattern=PATTERN)
    assert data.patient_pattern == PATTERN and {e.patient for e in data.entries} == {"p1", "p2"}
    assert named_by(data) == {"patient_pattern": PATTERN}
    assert named_by(open_data(pictures)) == {}
    assert open_aligned([pictures, pictures.parent / "data"][:1], PATTERN).patient_pattern == PATTERN


def test_it_is_the_training_s_unless_another_is_given() -> None:
    assert pattern_of(SPEC) == "" and pattern_of(LEARNED) == PATTERN
    for given, expected in ((None, PATTERN), ("", ""), ("other", "other")):
        with known_pattern(LEARNED, given) as pattern:
            assert pattern == expected


def test_one_of_the_training_that_does_not_fit_is_told_with_a_way_out(pictures: Path) -> None:
    other = SPEC.replace(training={"patient_pattern": "q"})
    told = []
    for given in (None, "z"):
        with pytest.raises(CasesError) as caught, known_pattern(other, given) as pattern:
            open_data(pictures, patient_pattern=pattern)
        told.append(str(caught.value))
    assert "that of the model's training; --patient-pattern gives another" in told[0]
    assert "of the model's training" not in told[1]

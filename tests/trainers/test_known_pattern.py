"""The pattern that tells patients: kept with the model, and used again to know them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from trainers.commands.shared import known_classes, known_pattern
from trainers.data.cases import CasesError
from trainers.data.readers import open_data
from trainers.data.readers.sequences import open_aligned
from trainers.known import classes_of, named_by, pattern_of
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.data import open_examined

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


def test_what_sub_folders_were_said_to_be_is_kept_and_used_again(tmp_path: Path) -> None:
    for name in ("normal", "other"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("L", (8, 8)).save(tmp_path / "data" / name / f"{name}-{number}.png")
    folder = tmp_path / "data"
    assert classes_of(SPEC) is None and named_by(open_data(folder)) == {}, "nobody said anything"
    for said in (True, False):
        spec = SPEC.replace(training=named_by(open_data(folder, classes=said)))
        assert classes_of(spec) is said
        assert (
            known_classes(spec, None, folder, "auto") is said
            and known_classes(spec, not said, folder, "auto") is not said
        )
        assert known_classes(spec, None, folder, "medmnist") is None, "that reader has no such option"
    patients = open_examined(folder, classes=True)
    assert [e.id for e in patients.normal] == ["normal/normal-0", "normal/normal-1"]
    with pytest.raises(CasesError, match="classes"):
        open_examined(folder, classes=False)


def test_it_is_the_training_s_unless_another_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert pattern_of(SPEC) == "" and pattern_of(LEARNED) == PATTERN
    for given, expected in ((None, PATTERN), ("", ""), ("other", "other")):
        with known_pattern(LEARNED, given) as pattern:
            assert pattern == expected
        assert ("by the pattern of its training" in " ".join(capsys.readouterr().err.split())) is (given is None)


def test_one_of_the_training_that_does_not_fit_is_told_with_a_way_out(pictures: Path) -> None:
    other = SPEC.replace(training={"patient_pattern": "q"})
    told = []
    for given in (None, "z"):
        with pytest.raises(CasesError) as caught, known_pattern(other, given) as pattern:
            open_data(pictures, patient_pattern=pattern)
        told.append(str(caught.value))
    assert "that of the model's training; --patient-pattern gives another" in told[0]
    assert "of the model's training" not in told[1]

"""What is not measured on: patients whom the model knows, and images of unknown class."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.trainers.anomaly.world import picture, pictures, recipe
from trainers.__main__ import app
from trainers.commands import anomaly as command
from trainers.data.cases import CasesError
from trainers.data.splits import split_data
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.data import healthy, open_examined, unknown_to
from trainers.tasks.anomaly.report import left_out_lines
from trainers.tasks.anomaly.train import left_out, unseen

PATTERN = "Patient[0-9]+"


def write(folder: Path, names: list[str], ill: bool = False) -> None:
    """Pictures of these names."""
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        Image.fromarray(picture(3000 + seed, ill).T.astype("uint8")).save(folder / f"{name}.png")


def model_of(model: Path, out: Path, **training: Any) -> Path:
    """A copy of a model that tells of another training."""
    shutil.copytree(model, out)
    spec = ModelSpec.load(out)
    spec.replace(training={**spec.training, **training}).save(out)
    return out


def run(model: Path, data: Path, json_file: Path, *more: str) -> tuple[str, dict[str, Any]]:
    """What `evaluate anomaly` says, and its report if there is one."""
    told = CliRunner().invoke(
        app, ["evaluate", "anomaly", "--model", str(model), "--data", str(data), "--json", str(json_file), *more]
    )
    assert told.exit_code in (0, 2), told.output
    return told.output, json.loads(json_file.read_text()) if told.exit_code == 0 else {}


@pytest.fixture
def both_eyes(tmp_path: Path) -> Path:
    """Four normal and four abnormal patients, two pictures each; Patient5 has a picture of each kind."""
    root = tmp_path / "eyes"
    write(root / "normal", [f"{n}_Patient{n // 2}_{side}" for n in range(2, 9, 2) for side in "LR"] + ["9_Patient5_L"])
    write(root / "abnormal", [f"{n}_Patient{n}_{side}" for n in (5, 6, 7, 8) for side in "LR"], ill=True)
    return root


KNOWN = {"train": ["Patient1", "Patient5"], "validation": ["Patient2", "Patient6"], "test": ["Patient3"]}


def test_patients_are_known_again_by_the_pattern_of_the_training(model: Path, both_eyes: Path, tmp_path: Path) -> None:
    trained = model_of(model, tmp_path / "m", patients=KNOWN, patient_pattern=PATTERN)
    told, report = run(trained, both_eyes, tmp_path / "a.json")
    assert (report["normal"], report["abnormal"]) == (4, 4)  # Patient3 and 4; Patient7 and 8
    assert report["left_out"] == {"known_normal": 5, "known_abnormal": 4}
    assert "left out: 4 abnormal, of patients whom the model learned from" in " ".join(told.split())


def test_another_pattern_may_be_given(model: Path, both_eyes: Path, tmp_path: Path) -> None:
    trained = model_of(model, tmp_path / "m", patients=KNOWN, patient_pattern="Case[0-9]+")
    told, _ = run(trained, both_eyes, tmp_path / "a.json")
    assert "'Case[0-9]+' is not found" in told and "--patient-pattern gives another" in " ".join(told.split())
    _, report = run(trained, both_eyes, tmp_path / "a.json", "--patient-pattern", PATTERN)
    assert (report["normal"], report["abnormal"]) == (4, 4)
    _, report = run(trained, both_eyes, tmp_path / "a.json", "--patient-pattern", "")
    assert (report["normal"], report["abnormal"]) == (9, 8)


def test_a_model_that_tells_no_pattern_takes_each_file_for_a_patient(
    model: Path, both_eyes: Path, tmp_path: Path
) -> None:
    older = model_of(model, tmp_path / "m", patients=KNOWN)
    spec = ModelSpec.load(older)
    spec.replace(training={k: v for k, v in spec.training.items() if k != "patient_pattern"}).save(older)
    _, report = run(older, both_eyes, tmp_path / "a.json")
    assert (report["normal"], report["abnormal"]) == (9, 8)


def test_it_is_told_when_too_few_are_left(model: Path, both_eyes: Path, tmp_path: Path) -> None:
    known = {**KNOWN, "train": ["Patient1", *(f"Patient{n}" for n in range(5, 9))]}
    told, _ = run(model_of(model, tmp_path / "m", patients=known, patient_pattern=PATTERN), both_eyes, tmp_path / "a")
    assert "There are 4 normal and 0 abnormal images" in told and "8 abnormal, of patients whom" in told


def test_healthy_images_are_known_again_when_their_folder_was_a_class(tmp_path: Path) -> None:
    """Learned from DIR with normal/ and abnormal/ as classes, patients are named after these; measured, not."""
    write(tmp_path / "normal", [f"p{n}" for n in range(6)])
    write(tmp_path / "abnormal", ["q1", "q2"], ill=True)
    learned = {"train": ["normal/p0", "normal/p1"], "validation": ["normal/p2"], "test": ["normal/p3"]}
    spec = replace(recipe().spec, training={"patients": learned})
    found = unknown_to(spec, open_examined(tmp_path))
    assert [e.id for e in found.normal] == ["p3", "p4", "p5"] and found.left_out["known_normal"] == 3


def test_training_stores_its_pattern(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ModelSpec.load(model).training["patient_pattern"] == "[a-z][0-9]+"
    given = []
    monkeypatch.setattr(command, "train", lambda *words: given.append(words[1].patient_pattern))
    write(tmp_path / "eyes", ["1_Patient1_L", "1_Patient1_R"])
    words = ["--data", str(tmp_path / "eyes"), "--out", str(tmp_path / "m"), "--patient-pattern", PATTERN]
    assert CliRunner().invoke(app, ["train", "anomaly", *words]).exit_code == 0 and given == [PATTERN]


def test_images_of_unknown_class_are_not_abnormal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures(40, 8)
    untold = [replace(entry, target=None) for entry in data.entries[45:]]
    mixed = replace(data, entries=[*data.entries[:45], *untold])
    monkeypatch.setattr("trainers.tasks.anomaly.data.open_data", lambda *_, **__: mixed)
    found = open_examined(tmp_path, normal="normal")
    assert (len(found.normal), len(found.abnormal), found.left_out["unknown_class"]) == (40, 5, 3)
    good = healthy(mixed, "normal")
    split = split_data(good, 10, 10)
    assert unseen(mixed, good, split) == mixed.entries[40:45]
    counts = left_out(mixed, good, split)
    assert counts == {"unknown_class": 3, "known_abnormal": 0}
    assert left_out_lines({"left_out": counts}) == ["3 of unknown class"]
    nothing_told = replace(data, entries=[*data.entries[:40], *(replace(e, target=None) for e in data.entries[40:])])
    monkeypatch.setattr("trainers.tasks.anomaly.data.open_data", lambda *_, **__: nothing_told)
    with pytest.raises(CasesError, match="0 abnormal and 8 images of unknown class"):
        open_examined(tmp_path, normal="normal")


def test_figures_and_card_tell_what_was_left_out(model: Path) -> None:
    assert json.loads((model / "figures.json").read_text())["left_out"] == {"unknown_class": 1, "known_abnormal": 0}
    assert "- 1 of unknown class" in (model / "card.md").read_text()

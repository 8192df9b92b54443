"""The report by hand, and what is measured on: volumes by their windows, pictures as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.files import picture
from trainers.data.cases import CasesError
from trainers.data.readers.sequences import open_aligned, open_sequences
from trainers.data.sets import DataSet, Entry, Sample
from trainers.metrics.fusion import all_figures
from trainers.tasks.fusion.evaluate import FIGURES, Report, evaluate, grey_slices, modalities_of, pairs_of
from trainers.tasks.fusion.infer import Fuser
from trainers.tasks.fusion.windows import Windows


def row(name: str, maximum: float, safe: float) -> dict:
    figures = {"pixel-max": maximum, "average": 0.0, "safe": safe}
    return {"id": name, "slices": 1, **{m: dict.fromkeys(FIGURES, v) for m, v in figures.items()}}


def test_the_report_by_hand() -> None:
    report = Report("CT + PET", [row("a", 1.0, 2.0), row("b", 3.0, 2.5)])
    assert report.methods == ["pixel-max", "average", "safe"]
    assert report.mean("pixel-max", "EN") == 2 and report.mean("safe", "EN") == 2.25
    assert report.ahead("safe") == list(FIGURES) and report.ahead("average") == []
    assert report.estimates["safe"]["SD"] == {"value": 2.25, "low": 2.0, "high": 2.5}
    told = report.as_dict()
    assert told["patients"] == 2 and told["ahead_of_pixel_max"] == {"average": [], "safe": list(FIGURES)}
    assert Report("CT + PET", [row("a", 1.0, 2.0)]).estimates["safe"]["SD"] == {"value": 2.0}, "one has no interval"


def test_pictures_are_measured_as_they_are(fuser: Fuser, tmp_path: Path) -> None:
    """The mean over slices, then over patients."""
    random = np.random.default_rng(0)
    shown = {name: random.integers(0, 256, (2, 20, 24), np.uint8) for name in ("1001", "1002", "2001")}
    for name, pair in shown.items():
        for folder, image in zip(("CT", "MRI"), pair, strict=True):
            picture(tmp_path / folder / f"{name}.png", image)
    data = open_aligned([tmp_path / "CT", tmp_path / "MRI"])
    (report,) = evaluate(fuser, data, data.entries)
    assert report.pair == "CT + MRI" and [p["slices"] for p in report.per_patient] == [2, 1]
    assert report.methods == ["pixel-max", "average", "safe", "gan"]
    found = {
        name: all_figures(np.maximum(*pair).T.astype(float), pair[0].T.astype(float), pair[1].T.astype(float))
        for name, pair in shown.items()
    }
    for figure in FIGURES:
        expected = ((found["1001"][figure] + found["1002"][figure]) / 2 + found["2001"][figure]) / 2
        assert report.mean("pixel-max", figure) == pytest.approx(expected, rel=1e-4)
        assert report.mean("gan", figure) == pytest.approx(expected, rel=1e-3), "these weights take the brighter one"


def test_volumes_are_measured_through_their_windows(fuser: Fuser, clinic: Path) -> None:
    data = open_sequences(clinic)
    reports = evaluate(fuser, data, data.entries[:1])
    assert [r.pair for r in reports] == ["CT + MR_T1", "CT + PET_SUV", "MR_T1 + PET_SUV"]
    assert all(p["slices"] == 6 for r in reports for p in r.per_patient)
    ct, pet = (
        255 * Windows().of_image(x, m).grey(x)
        for x, m in zip(data.entries[0].read().image[[0, 2]], ("CT", "PET"), strict=True)
    )
    k = [all_figures(np.maximum(ct, pet)[..., z], ct[..., z], pet[..., z])["SD"] for z in range(6)]
    assert reports[1].per_patient[0]["pixel-max"]["SD"] == pytest.approx(np.mean(k), rel=1e-4)


def test_slices_lie_across_the_thick_axis() -> None:
    image = np.zeros((2, 5, 6, 7), np.float32)
    thick = np.array([[0.0, 0, 1, 0], [3, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    slices = list(grey_slices(Sample(image, affine=thick), ("CT", "MR"), Windows()))
    assert len(slices) == 5 and slices[0].shape == (2, 7, 6)
    assert len(list(grey_slices(Sample(image), ("CT", "MR"), Windows()))) == 7


def test_slices_without_content_are_left_out(fuser: Fuser) -> None:
    image = np.random.default_rng(0).uniform(-200, 300, (2, 16, 16, 4)).astype(np.float32)
    image[1, ..., 1] = -1000
    data = DataSet("made", [Entry("a", "a", lambda: Sample(image))], channels=("CT", "low_CT"))
    assert evaluate(fuser, data, data.entries)[0].per_patient[0]["slices"] == 3
    empty = DataSet("made", [Entry("a", "a", lambda: Sample(0 * image))], channels=("CT", "low_CT"))
    with pytest.raises(CasesError, match=r"No slice of CT \+ low_CT shows anything"):
        evaluate(fuser, empty, empty.entries)


def test_modalities_are_named_or_known() -> None:
    flat = DataSet("x", [], channels=("A", "B"), dimensions=2)
    deep = DataSet("x", [], channels=("CT", "B"))
    assert modalities_of(flat) == ["grey", "grey"] and modalities_of(flat, ["CT", "MR"]) == ["CT", "MR"]
    assert modalities_of(deep, ["CT", "PET"]) == ["CT", "PET"]
    with pytest.raises(CasesError, match="'B' tells no modality"):
        modalities_of(deep)
    with pytest.raises(CasesError, match=r"2 channels \(CT, B\); name as many"):
        modalities_of(deep, ["CT"])
    with pytest.raises(CasesError, match="fusion needs two"):
        pairs_of(DataSet("x", [], channels=("CT",)))

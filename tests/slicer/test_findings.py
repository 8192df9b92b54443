"""Findings in a heat map, and what their heat means, beside plain definitions of both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from MedGANLib import errors, findings
from MedGANLib.calibrations import Calibration, rate_text, score_text, spot_text
from MedGANLib.components import components, count_runs
from MedGANLib.findings import LISTED, ML, MM2, find, hot
from scipy import ndimage

from .scenes import GRIDS

MASKS = hnp.arrays(bool, st.tuples(*[st.integers(0, 7)] * 3))


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_parts_are_those_of_scipy(mask: np.ndarray) -> None:
    expected, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found = components(mask)
    assert found.count == count and len(found.first) == count_runs(mask)
    runs = zip(found.first, found.length, strict=True)
    places = np.concatenate([np.arange(first, first + n) for first, n in runs]) if count else np.zeros(0, int)
    assert np.array_equal(places, np.flatnonzero(mask))
    pairs = set(zip(np.repeat(found.part, found.length).tolist(), expected.ravel()[places].tolist(), strict=True))
    assert len(pairs) == count, "one number for each part, and one part for each number"


def test_parts_that_meet_late() -> None:
    """Combs whose teeth are joined by their last row only, and a spiral."""
    comb = np.zeros((1, 40, 81), bool)
    comb[0, :, ::2] = True
    assert components(comb).count == 41
    comb[0, -1] = True
    assert components(comb).count == 1
    assert components(comb.transpose(2, 1, 0)).count == 1


@given(hnp.arrays(np.float32, (4, 5, 6), elements=st.integers(0, 5).map(float)), st.sampled_from(sorted(GRIDS)))
@settings(max_examples=100, deadline=None)
def test_each_finding_is_measured_as_defined(heat: np.ndarray, grid: str) -> None:
    found = find(heat, 2.0, GRIDS[grid])
    labels, count = ndimage.label(heat >= 2.0, np.ones((3, 3, 3)))
    assert found.count == count == len(found.hottest) == len(found.largest)
    measured = sorted((float(heat[labels == n].max()), int((labels == n).sum())) for n in range(1, count + 1))
    assert sorted((f.peak, f.voxels) for f in found.hottest) == measured
    assert [f.peak for f in found.hottest] == sorted((f.peak for f in found.hottest), reverse=True)
    assert [f.voxels for f in found.largest] == sorted((f.voxels for f in found.largest), reverse=True)
    assert [f.number for f in found.hottest] == list(range(1, count + 1)), "numbered by peak"
    for one in found.hottest:
        i, j, k = np.rint((np.linalg.inv(GRIDS[grid]) @ [*one.place, 1.0])[:3]).astype(int)
        assert heat[k, j, i] == one.peak and (labels[k, j, i] == labels[labels > 0]).any()
        assert one.size == pytest.approx(one.voxels * 1.0 * 1.5 * 2.5 / 1000) and found.units == ML


def test_a_single_slice_has_areas() -> None:
    heat = np.zeros((1, 8, 8), np.float32)
    heat[0, 2:4, 2:5] = 3.0
    (one,) = find(heat, 1.0, GRIDS["oblique"]).hottest
    assert find(heat, 1.0, GRIDS["oblique"]).units == MM2
    assert one.size == pytest.approx(6 * 1.0 * 1.5), "1 x 1.5 mm in the plane"
    sagittal = find(heat.transpose(2, 1, 0), 1.0, GRIDS["oblique"]).hottest[0]
    assert sagittal.size == pytest.approx(6 * 1.5 * 2.5)


def test_many_findings_are_counted_and_the_first_are_listed() -> None:
    heat = np.zeros((20, 20, 20), np.float32)
    heat[::3, ::3, ::3] = np.random.default_rng(0).random((7, 7, 7)) + 1
    heat[0, 0, 1] = 1.0
    found = find(heat, 1.0, np.eye(4))
    assert found.count == 343 and len(found.hottest) == len(found.largest) == LISTED
    assert found.hottest[0].peak == heat.max() and found.largest[0].voxels == 2


def test_what_is_hot_all_over_is_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAX_RUNS", 50)
    heat = np.random.default_rng(0).random((8, 8, 8), np.float32)
    assert find(heat, 0.5, np.eye(4)).crowded and not find(heat, 0.995, np.eye(4)).crowded


def test_where_it_is_hot() -> None:
    heat = np.zeros((5, 6, 7), np.float32)
    heat[1:3, 2:5, 3] = 2.0
    box = hot(heat, 2.0)
    assert box.mask.shape == (2, 3, 1) and box.mask.all()
    matrix = box.matrix(GRIDS["oblique"])
    assert matrix @ [0, 0, 0, 1] == pytest.approx(GRIDS["oblique"] @ [3, 2, 1, 1])
    assert not hot(heat, 3.0).mask.size and find(heat, 3.0, np.eye(4)).count == 0


# What heat means


def known(peaks: Any = (), **more: Any) -> Calibration:
    said = {"score": 3.2, "chance": 1 / 83, "healthy": 120, "threshold": 4.0, "false_positives": 0.05}
    return Calibration.from_json({**said, "peaks": list(peaks), **more})


PEAKS = [float(n) for n in range(1, 20)]
"""19 healthy patients; with the one that is counted in, 20."""


@pytest.mark.parametrize(
    ("heat", "words"),
    [
        (0.5, "Heat 0.5 and above: every healthy patient has such a spot."),
        (1.0, "Heat 1 and above: every healthy patient has such a spot."),
        (4.1, "Heat 4.1 and above: 80 of 100 healthy patients have such a spot."),
        (10.5, "Heat 10.5 and above: 1 of 2 healthy patients has such a spot."),
        (16.0, "Heat 16 and above: 1 of 4 healthy patients has such a spot."),
        (19.0, "Heat 19 and above: 1 of 10 healthy patients has such a spot."),
        (
            19.5,
            "Heat 19.5 and above: none of the 19 healthy patients that were looked at has such a spot, "
            "so fewer than 1 of 20.",
        ),
    ],
)
def test_a_threshold_in_words(heat: float, words: str) -> None:
    assert spot_text(known(PEAKS[::-1]), heat) == words, "in whatever order the server sends them"


@given(st.lists(st.integers(0, 9).map(float), max_size=30), st.integers(0, 10).map(float))
def test_the_share_is_as_defined(peaks: list[float], heat: float) -> None:
    assert known(peaks).share(heat) == (1 + sum(peak >= heat for peak in peaks)) / (1 + len(peaks))


def test_a_peak_in_the_table() -> None:
    assert [rate_text(known(PEAKS), heat) for heat in (0.0, 4.1, 19.0, 30.0)] == [
        "all",
        "80 of 100",
        "1 of 10",
        "< 1 of 20",
    ]
    assert rate_text(known(), 3.0) == "–"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "Score 3.2 or higher: seen in 1 of 83 healthy patients (120 were looked at)."),
        ({"chance": 0.75}, "Score 3.2 or higher: seen in 75 of 100 healthy patients (120 were looked at)."),
        (
            {"chance": 1 / 121},
            "Score 3.2 or higher: seen in fewer than 1 of 121 healthy patients (none of the 120 that were looked at).",
        ),
        ({"healthy": 0}, "Score 3.2. There are no healthy patients to compare it with."),
        ({"chance": None}, "Score 3.2. There are no healthy patients to compare it with."),
        ({"score": None}, "The model gave no score of the whole image."),
    ],
)
def test_a_score_in_words(more: dict[str, Any], words: str) -> None:
    assert score_text(known(**more)) == words


def test_a_server_without_healthy_patients() -> None:
    assert spot_text(known(), 2.0) == "Heat 2 and above. There are no healthy patients to compare it with."


@pytest.mark.parametrize("told", [None, [], {}, {"threshold": None}, {"threshold": math.nan}])
def test_a_server_that_names_no_threshold(told: Any) -> None:
    with pytest.raises(errors.CannotProcess, match="which heat is unusual"):
        Calibration.from_json(told)

"""The benchmark of active learning, on a toy clinic: what is chosen, what is kept, and how it is summed up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import active_learning as module
from benchmarks.active_learning import COMPARED, FULL, Bench, Effort, plot, summary
from benchmarks.two_sequences import is_negative, negative
from tests.trainers.conftest import ball
from trainers.data.cases import Case, CasesError
from trainers.data.volumes import Volume, read_volume, write_volume


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for number in range(46):
        image, label = ball((20, 24, 20), (10.0, 12.0 + number % 3, 10.0))
        for part, array in (("images", image), ("labels", (label > 3) + (label > 0).astype(np.uint8))):
            write_volume(
                tmp_path / "data" / part / f"p{number:02d}.nii.gz", Volume(array.astype(array.dtype), np.eye(4))
            )
    monkeypatch.setattr(module, "NETWORK", {**module.NETWORK, "channels": [4, 8, 8, 8]})
    monkeypatch.setattr(module, "PATCH", (16, 16, 16))
    return Bench(tmp_path / "data", tmp_path / "out", Effort(steps=2))


def test_every_strategy_begins_alike_and_goes_its_own_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bench.measure([0], ["foreground", "realism"], (2, 4))
    table = {(row["strategy"], row["labelled"]): row for row in rows}
    assert set(table) == {(FULL, 6), ("foreground", 2), ("foreground", 4), ("realism", 2), ("realism", 4)}
    start = table["foreground", 2]["patients"]
    assert table["realism", 2]["patients"] == start
    assert all(table[name, 4]["patients"][:2] == start for name in ("foreground", "realism"))
    assert len(set(table["realism", 4]["patients"])) == 4
    monkeypatch.setattr(bench, "_learn", lambda *_: pytest.fail("what is kept is not learned again"))
    assert bench.measure([0], ["foreground", "realism"], (2, 4)) == rows


def test_the_summary_says_who_reaches_95_percent_and_is_drawn(tmp_path: Path) -> None:
    rows = [
        {"strategy": name, "labelled": n, "seed": seed, "dice": dice, "per_patient": [dice, dice]}
        for name, n, dice in ((FULL, 160, 0.80), ("hybrid", 4, 0.75), ("hybrid", 8, 0.77), ("foreground", 8, 0.755))
        for seed in (0, 1)
    ]
    table = {(row["strategy"], row["labelled"]): row for row in summary(rows)}
    assert {key: row["95% of all labels"] for key, row in table.items()} == {
        (FULL, 160): "yes", ("hybrid", 4): "no", ("hybrid", 8): "yes", ("foreground", 8): "no",
    }  # fmt: skip
    assert table["hybrid", 8]["seeds"] == 2
    plot(summary(rows), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    assert "hybrid" in COMPARED


def test_of_two_sequences_one_is_rare_to_learn_from_and_counts_alike(bench: Bench, tmp_path: Path) -> None:
    mixed = Bench(tmp_path / "data", tmp_path / "out2", Effort(steps=2), rare=0.5)
    assert sorted(map(is_negative, mixed.train.values())) == [False] * 3 + [True] * 3
    assert {case.patient for case in mixed.train.values()} == set(bench.train)
    assert [case.patient for case in mixed.test] == 2 * [case.patient for case in bench.test]
    (row,) = mixed.play("foreground", 0, sorted(mixed.train)[:2], (2,))
    assert len(row["per_patient"]) == 30 and set(row["by_kind"]) == {"usual", "rare"}
    (told,) = summary([row])
    assert (told["usual"], told["rare"]) == tuple(row["by_kind"].values())
    assert told["as mixed"] == told["dice"] == pytest.approx((told["usual"] + told["rare"]) / 2), "one in two is rare"
    usual = [case.id for case in mixed.train.values() if not is_negative(case)][:2]
    mixed.play("foreground", 0, usual, (2,))
    bench.folders.append(mixed.out)
    assert bench._known("first-round-002-0", usual) is None, "what was measured on other images is not taken over"
    assert mixed._known("first-round-002-0", usual) is not None


def test_what_was_kept_with_fewer_chosen_is_measured_again(bench: Bench) -> None:
    start = sorted(bench.train)[:2]
    bench.play("entropy", 0, start, (2, 3))
    rows = bench.play("entropy", 0, start, (2, 4))
    assert [row["labelled"] for row in rows] == [2, 4] and len(set(rows[1]["patients"])) == 4


@pytest.mark.parametrize("sizes", [(), (0, 2), (4, 2), (2, 2), (2, 6)])
def test_sizes_that_cannot_be_are_refused(bench: Bench, sizes: tuple[int, ...]) -> None:
    with pytest.raises(CasesError, match="no growing numbers from 1 to 5"):
        bench.measure([0], ["foreground"], sizes)


def test_a_negative_shows_black_for_white_of_the_same_patient(tmp_path: Path) -> None:
    values = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    write_volume(tmp_path / "p1.nii.gz", Volume(values, np.diag([2.0, 1.0, 1.0, 1.0])))
    case = negative(Case("p1", tmp_path / "p1.nii.gz", tmp_path / "label.nii.gz"), tmp_path / "made")
    image = read_volume(case.image)
    assert (case.patient, case.label) == ("p1", tmp_path / "label.nii.gz")
    assert np.corrcoef(image.array.ravel(), values.ravel())[0, 1] < -0.99
    np.testing.assert_allclose(image.affine, np.diag([2.0, 1.0, 1.0, 1.0]))
    assert image.array.min() == 0

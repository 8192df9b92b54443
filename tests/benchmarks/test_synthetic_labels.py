"""The summary and the picture of the few-labels benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic_labels import ARMS, Bench, Effort, Run, interval, plot, summary
from trainers.files import atomic_write_json


def row(arm: str, labelled: int, seed: int, dice: list[float]) -> dict[str, object]:
    return {"arm": arm, "labelled": labelled, "seed": seed, "dice": float(np.mean(dice)), "per_patient": dice}


def test_seeds_and_patients_are_averaged() -> None:
    rows = [row("pairs", 8, 0, [0.7, 0.9]), row("pairs", 8, 1, [0.8, 1.0]), row("alone", 4, 0, [0.5, 0.5])]
    first, second = summary(rows)
    assert (first["arm"], first["labelled"], first["seeds"]) == ("alone", 4, 1)
    assert (second["arm"], second["seeds"]) == ("pairs", 2)
    assert second["dice"] == pytest.approx(0.85)


def test_an_interval_holds_the_mean_and_shrinks_with_patients() -> None:
    random = np.random.default_rng(0)
    few, many = (random.normal(0.8, 0.05, (3, n)) for n in (5, 100))
    low, high = interval(few)
    assert low < few.mean() < high
    assert np.diff(interval(many)) < np.diff((low, high))
    assert interval(np.full((2, 3), 0.8)) == pytest.approx((0.8, 0.8))


def test_rows_of_earlier_runs_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def train_one(self: Bench, run: Run, sizes: object) -> dict[str, object]:
        trained.append(run.name)
        return row(run.arm, run.labelled, run.seed, [0.5])

    monkeypatch.setattr(Bench, "train_one", train_one)
    bench = object.__new__(Bench)
    bench.effort, bench.folders = Effort(segmentation=9), [tmp_path / "out", tmp_path / "kept"]
    known = {**row("classical", 4, 0, [0.7]), "effort": {"segmentation": 9}}
    atomic_write_json(tmp_path / "kept" / "classical-04-0.json", known)
    atomic_write_json(tmp_path / "out" / "classical-64-0.json", {**known, "effort": {"segmentation": 8}})
    assert bench.measure([4], [0, 1], ["classical", "pairs"], train=False) == [known], "what is missing is left out"
    rows = bench.measure(sizes=[4], seeds=[0], arms=["classical"])
    assert rows[0] == known
    assert trained == ["classical-64-0"], "and those of another effort are"


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    rows = [row(arm, n, s, [0.5 + n / 100, 0.6 + n / 100]) for arm in ARMS for n in (4, 8) for s in (0, 1)]
    plot(summary(rows), tmp_path / "deep" / "plot.png")
    assert (tmp_path / "deep" / "plot.png").read_bytes().startswith(b"\x89PNG")

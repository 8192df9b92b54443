"""The benchmark of clicks: what is counted, and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import clicks
from benchmarks.clicks import AS_THEY_ARE, CARELESS, SPOILED, WORST, WORST_CARELESS, measure, plot
from trainers.tasks.segmentation.interaction import GOOD

REACHED = f"reached {GOOD}"


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Two patients; one gets worse by a click after it was good, and is perfect after one click when spoiled."""
    told = {
        0.0: [[0.88, 0.91, 0.89], [0.80, 0.82, 0.84]],
        1.0: [[0.70, 1.0], [0.76, 0.86, 0.92]],
    }
    monkeypatch.setattr(
        clicks,
        "click_report",
        lambda segmenter, cases, count, strength, monitor, aimed: {
            "per_case": [{"dice": dice if aimed else dice[:2]} for dice in told[strength]]
        },
    )
    monkeypatch.setattr(clicks, "Segmenter", lambda folder: None)
    monkeypatch.setattr(clicks, "find_cases", lambda data: [])
    return measure(tmp_path, clicks=2)


def test_what_was_good_once_counts_and_what_needs_no_click_stays(rows: list[dict[str, Any]]) -> None:
    table = {(row["images"], row["clicks"]): row for row in rows}
    assert [table[AS_THEY_ARE, n][REACHED] for n in range(3)] == [0.0, 0.5, 0.5]
    assert [table[SPOILED, n]["Dice"] for n in range(3)] == pytest.approx([0.73, 0.93, 0.96])
    assert table[WORST, 0]["cases"] == 1 and table[WORST, 2]["Dice"] == 1.0
    assert [table[CARELESS, n]["Dice"] for n in range(3)] == pytest.approx([0.73, 0.93, 0.93])
    assert table[WORST_CARELESS, 0]["cases"] == 1


def test_the_picture_shows_all(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    plot(rows, tmp_path / "clicks.png")
    assert (tmp_path / "clicks.png").stat().st_size > 5000

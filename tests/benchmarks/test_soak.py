"""A few kills of the soak, and that it would see what is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.ledger import ANY, OPENING, Facts, Tally, differences, read_ledger
from benchmarks.soak import Place, left_over, measure, observe
from monailabel_app.history import LabelHistory
from monailabel_app.index import StudyIndex


def test_killed_five_times_nothing_is_lost(tmp_path: Path) -> None:
    tally = measure(5, tmp_path / "site", seed=1)
    assert tally.lost == []
    assert tally.kills.total() == 5 and tally.done.total() > 0
    assert [row["lost"] for row in tally.rows()] == [0] * len(tally.rows())


def forgets_scores(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StudyIndex, "save", lambda index, studies: None)


def forgets_history(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LabelHistory, "finish", lambda history, pending: pending.unlink())


@pytest.mark.parametrize("fault", [forgets_scores, forgets_history])
def test_what_is_lost_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: object) -> None:
    place, tally = Place(tmp_path / "site"), Tally()
    place.make()
    before = observe(place, tally)
    with monkeypatch.context() as patch:
        worker = soak.Worker(place, 0)
        fault(patch)  # type: ignore[operator]
        worker.submit()
        worker.score()
    worker.store.close()
    _, expected, begun = read_ledger(place.ledger, before, tally)
    found = observe(place, tally)
    assert differences(expected, found, begun) or tally.lost


def test_what_stays_is_seen(tmp_path: Path) -> None:
    place = Place(tmp_path / "site")
    place.make()
    observe(place, Tally())
    (place.runs / ".writing-x").write_text("half")
    (place.data / "backups" / "pending" / "x.json").write_text("{}")
    assert [path.name for path in left_over(place)] == [".writing-x", "x.json"]
    assert left_over(place, until=0) == []


@pytest.mark.parametrize(
    ("expected", "found", "begun", "wrong"),
    [
        ({"score a": 1}, {"score a": 1}, {}, 0),
        ({"score a": 1}, {}, {}, 1),
        ({"score a": 1}, {"score a": 2}, {}, 1),
        ({"score a": 1}, {"score a": 2}, {"score a": 2}, 0),
        ({"score a": 1}, {"score a": 3}, {"score a": 2}, 1),
        ({"label a": None}, {}, {}, 0),
        ({}, {"run x": "queued"}, {}, 1),
        ({}, {"run x": "queued"}, {"run": ANY}, 0),
        ({"run x": "queued"}, {"run x": "training"}, {"run x": ANY}, 0),
        ({"run x": "queued"}, {"run x": ""}, {"run x": ANY}, 1),
    ],
)
def test_what_differs(expected: Facts, found: Facts, begun: Facts, wrong: int) -> None:
    assert len(differences(expected, found, begun)) == wrong


def test_a_ledger_tells_what_was_done_and_what_was_begun(tmp_path: Path) -> None:
    lines = [
        {"kind": "score", "begun": {"score a": 1}}, {"kind": "score", "done": {"score a": 1}},
        {"kind": "label", "begun": {"label a": 2}},
    ]  # fmt: skip
    (tmp_path / "ledger").write_text("\n".join(map(json.dumps, lines)))
    tally = Tally()
    assert read_ledger(tmp_path / "ledger", {"score a": 0}, tally) == ("label", {"score a": 1}, {"label a": 2})
    assert tally.done == {"score": 1}
    assert read_ledger(tmp_path / "none", {"score a": 0}, tally) == (OPENING, {"score a": 0}, {})

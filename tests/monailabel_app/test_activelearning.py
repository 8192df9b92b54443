"""Which study next: never one that is labelled, never one in two clients' hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monailabel_app.activelearning import strategies as module
from monailabel_app.activelearning.strategies import SCORES, First, MostUncertain, Random, Reserving
from monailabel_app.activelearning.uncertainty import mean_entropy
from monailabel_app.datastore import StudyDatastore
from trainers.data.volumes import Volume, write_volume
from trainers.tasks.segmentation import Segmentation

SMALL = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))
ALL = ("a", "b", "c", "d")


@pytest.fixture
def store(tmp_path: Path) -> StudyDatastore:
    for name in ALL:
        write_volume(tmp_path / "s" / f"{name}.nii.gz", SMALL)
    return StudyDatastore(tmp_path / "s", tmp_path / "backups")


def ask(strategy: Reserving, store: StudyDatastore, client: str | None = None, **more: object) -> str | None:
    return strategy({"strategy": "x", "client_id": client, **more}, store).get("id")


@pytest.mark.parametrize("kind", [First, Random, MostUncertain])
def test_clients_get_different_studies_until_there_are_none(store: StudyDatastore, kind: type[Reserving]) -> None:
    strategy = kind(10)
    given = [ask(strategy, store, f"client-{n}") for n in range(5)]
    assert sorted(given[:4]) == list(ALL)
    assert given[4] is None


@pytest.mark.parametrize("kind", [First, Random, MostUncertain])
def test_labelled_studies_are_not_given(store: StudyDatastore, kind: type[Reserving], tmp_path: Path) -> None:
    write_volume(tmp_path / "l.nii.gz", SMALL)
    for name in ("a", "b", "c"):
        store.save_label(name, str(tmp_path / "l.nii.gz"), "final", {})
    store.save_label("d", str(tmp_path / "l.nii.gz"), "original", {})
    assert ask(kind(10), store) == "d"


@pytest.mark.parametrize("kind", [First, Random, MostUncertain])
def test_files_that_are_no_images_are_passed_over(store: StudyDatastore, kind: type[Reserving]) -> None:
    for name in ("a", "b", "c"):
        store.image_path(name).write_text("not an image")
    assert ask(kind(10), store) == "d"
    store.image_path("d").write_text("not an image")
    assert ask(kind(10), store) is None


def test_a_client_may_ask_again(store: StudyDatastore) -> None:
    strategy = First(10)
    assert [ask(strategy, store, "me") for _ in range(3)] == ["a", "a", "a"]


def test_a_study_is_free_again_after_some_minutes(store: StudyDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = First(10)
    assert ask(strategy, store, "one") == "a"
    assert ask(strategy, store, "two") == "b"
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 601)
    assert ask(strategy, store, "three") == "a"


def test_random_is_repeatable_with_a_seed_and_reaches_all(store: StudyDatastore) -> None:
    assert sorted({ask(Random(0, seed), store, str(seed), seed=None) for seed in range(40)} - {None}) == list(ALL)


def test_same_seed_same_draw(tmp_path: Path) -> None:
    draws = []
    for run in range(2):
        for name in ALL:
            write_volume(tmp_path / str(run) / f"{name}.nii.gz", SMALL)
        fresh = StudyDatastore(tmp_path / str(run), tmp_path / f"b{run}")
        draws.append([ask(Random(10), fresh, f"c{n}", seed=n) for n in range(3)])
    assert draws[0] == draws[1]


def test_most_uncertain_first_and_unscored_last(store: StudyDatastore) -> None:
    for name, score in {"a": 0.1, "b": 0.5, "d": None}.items():
        store.update_image_info(name, {SCORES: {"uncertainty": score}})
    given = [ask(MostUncertain(10), store, f"client-{n}") for n in range(4)]
    assert given[:2] == ["b", "a"]


def test_entropy_counts_only_where_something_was_segmented() -> None:
    label, entropy = np.zeros((2, 2, 2), np.uint8), np.full((2, 2, 2), 9.0, np.float32)
    label[0], entropy[0] = 1, 0.25
    grid = np.eye(4)
    result = Segmentation(Volume(label, grid), Volume(entropy, grid), [], {})
    assert mean_entropy(result) == pytest.approx(0.25)
    nothing = Segmentation(Volume(label * 0, grid), Volume(entropy, grid), [], {})
    assert mean_entropy(nothing) == pytest.approx(np.log(256))

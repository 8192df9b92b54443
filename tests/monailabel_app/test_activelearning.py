"""Which study next: never one that is labelled, never one in two clients' hands; and what the choice looks at."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import client_of, crop, make_studies

from monailabel_app.activelearning import strategies as module
from monailabel_app.activelearning.background import BackgroundScoring
from monailabel_app.activelearning.scores import (
    HIGHEST,
    SCORES,
    UNREADABLE,
    info_of,
    pool_of,
    scores_of,
    seen_in,
    unreadable,
)
from monailabel_app.activelearning.strategies import Reserving
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.jobs import Jobs
from monailabel_app.main import MedGANApp
from trainers.data.volumes import Volume, write_volume
from trainers.preprocess import Window
from trainers.spec import ModelNotAvailable
from trainers.tasks.segmentation import Segmentation
from trainers.tasks.segmentation.choosing import STRATEGIES
from trainers.tasks.segmentation.quality import Calibration, Signs
from trainers.tasks.segmentation.search import Find

SMALL = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))
ALL = ("a", "b", "c", "d")
MODEL = "organ"


@pytest.fixture
def store(tmp_path: Path) -> StudyDatastore:
    for name in ALL:
        write_volume(tmp_path / "s" / f"{name}.nii.gz", SMALL)
    return StudyDatastore(tmp_path / "s", tmp_path / "backups")


def make(name: str, minutes: float = 10, fresh: bool = False, seed: int | None = 0) -> Reserving:
    about, choose = STRATEGIES[name]
    return Reserving(choose, about, minutes, MODEL, ["light"], fresh, seed)


def ask(strategy: Reserving, store: StudyDatastore, client: str | None = None, **more: object) -> str | None:
    return strategy({"strategy": "x", "client_id": client, **more}, store).get("id")


def score(store: StudyDatastore, name: str, uncertainty: float | None, **more: object) -> None:
    known = {"model": MODEL, "version": "v0001", "uncertainty": uncertainty, **more}
    store.update_image_info(name, {SCORES: known})


@pytest.mark.parametrize("name", STRATEGIES)
def test_clients_get_different_studies_until_there_are_none(store: StudyDatastore, name: str) -> None:
    strategy = make(name)
    given = [ask(strategy, store, f"client-{n}") for n in range(5)]
    assert sorted(given[:4]) == list(ALL)  # type: ignore[type-var]
    assert given[4] is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_labelled_studies_are_not_given(store: StudyDatastore, name: str, tmp_path: Path) -> None:
    write_volume(tmp_path / "l.nii.gz", SMALL)
    for study in ("a", "b", "c"):
        store.save_label(study, str(tmp_path / "l.nii.gz"), "final", {})
    store.save_label("d", str(tmp_path / "l.nii.gz"), "original", {})
    assert ask(make(name), store) == "d"


@pytest.mark.parametrize("name", STRATEGIES)
def test_files_that_are_no_images_are_passed_over(store: StudyDatastore, name: str) -> None:
    for study in ("a", "b", "c"):
        store.image_path(study).write_text("not an image")
    assert ask(make(name), store) == "d"
    store.image_path("d").write_text("not an image")
    assert ask(make(name), store) is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_scoring_could_not_read_is_passed_over_until_the_file_changes(store: StudyDatastore, name: str) -> None:
    for study in ("a", "b", "c"):
        store.update_image_info(study, unreadable(MODEL, "v0001", store.image_stamp(study)))
    assert ask(make(name), store) == "d"
    store.update_image_info("d", unreadable("another", "v0001", store.image_stamp("d")))
    assert ask(make(name), store) is None
    write_volume(store.image_path("b"), SMALL)
    assert ask(make(name), store) == "b"


def test_scoring_tells_what_it_cannot_read_from_what_needs_a_point(models: Path, tmp_path: Path) -> None:
    spoilt = Volume(np.full((30, 30, 30), np.nan, np.float32), np.eye(4))
    write_volume(tmp_path / "studies" / "spoilt.nii.gz", spoilt)
    whole = crop(0)
    large = Volume(whole.array.repeat(3, 0).repeat(3, 1), whole.affine)
    write_volume(tmp_path / "studies" / "large.nii.gz", large)
    app = client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models)).app
    found: MedGANApp = app.state.services.app  # type: ignore[attr-defined]
    store = app.state.services.datastore  # type: ignore[attr-defined]
    found.scoring_methods["uncertainty"]({}, store)
    known = {name: scores_of(info) or {} for name, info in store.acquired().items()}
    assert {name: scores["uncertainty"] for name, scores in known.items()} == {"spoilt": None, "large": None}
    assert {name for name, scores in known.items() if UNREADABLE in scores} == {"spoilt"}
    for strategy in ("hybrid", "random"):
        assert found.strategies[strategy]({"client_id": "a"}, store)["id"] == "large"


def test_a_client_may_ask_again(store: StudyDatastore) -> None:
    strategy = make("first")
    assert [ask(strategy, store, "me") for _ in range(3)] == ["a", "a", "a"]


def test_of_random_ones_who_asks_again_gets_another(store: StudyDatastore) -> None:
    strategy = make("random", fresh=True)
    assert sorted(ask(strategy, store, "me") for _ in range(4)) == list(ALL)  # type: ignore[type-var]
    assert ask(strategy, store, "me") in ALL


def test_a_study_is_free_again_after_some_minutes(store: StudyDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = make("first")
    assert ask(strategy, store, "one") == "a"
    assert ask(strategy, store, "two") == "b"
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 601)
    assert ask(strategy, store, "three") == "a"


def test_same_seed_same_draw(tmp_path: Path) -> None:
    draws = []
    for run in range(2):
        for name in ALL:
            write_volume(tmp_path / str(run) / f"{name}.nii.gz", SMALL)
        fresh = StudyDatastore(tmp_path / str(run), tmp_path / f"b{run}")
        draws.append([ask(make("random", seed=None), fresh, f"c{n}", seed=n) for n in (-1, 0, 2**40)])
    assert draws[0] == draws[1]


def test_most_uncertain_first_and_unscored_last(store: StudyDatastore) -> None:
    for name, value in {"a": 0.1, "b": 0.5, "d": None}.items():
        score(store, name, value)
    given = [ask(make("entropy"), store, f"client-{n}") for n in range(4)]
    assert given[:2] == ["b", "a"]


def test_the_reason_comes_with_the_study(store: StudyDatastore) -> None:
    score(store, "b", 0.5)
    assert make("entropy")({"client_id": "me"}, store)["reason"].startswith("The model is least sure of it: 0.50 nats")


def test_another_models_scores_do_not_count(store: StudyDatastore) -> None:
    score(store, "b", 0.5)
    store.update_image_info("c", {SCORES: {"model": "other", "version": "v0001", "uncertainty": 9.0}})
    pool = pool_of(store, list(ALL), MODEL, ["light"])
    assert [name for name, seen in pool.waiting.items() if seen] == ["b"]


# What is kept of a look at a study


def found(labelled: bool, quality: bool = False) -> Segmentation:
    maps = np.full((2, 4, 4, 4), 0.5, np.float32)
    maps[1, :2] = 0.9 if labelled else 0.0
    maps[0] = 1 - maps[1]
    if labelled:
        maps[0, 2:], maps[1, 2:] = 1, 0
    signs = Signs(0.7, -0.5, 0.3, {"light": 0.3}, [1.0, 2.0])
    told = Calibration([1, 0, 0, 0], [0.7] * 10, [0.0] * 10)(signs) if quality else None
    find = Find(Window((0, 0, 0), (4, 4, 4)), maps[0], maps)
    return Segmentation(SMALL, SMALL, [], {}, [find], told)


def test_entropy_counts_only_where_something_was_segmented() -> None:
    entry = info_of(found(labelled=True), ["light"], MODEL, "v0001")[SCORES]
    expected = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert entry["uncertainty"] == pytest.approx(expected, abs=1e-3)
    assert entry["by_label"]["light"] == pytest.approx(expected, abs=1e-3)
    nothing = info_of(found(labelled=False), ["light"], MODEL, "v0001")
    assert nothing[SCORES]["uncertainty"] == HIGHEST
    assert seen_in(nothing, MODEL).found is False  # type: ignore[union-attr]


def test_what_a_judge_says_is_kept_whole() -> None:
    info = info_of(found(labelled=True, quality=True), ["light"], MODEL, "v0003")
    seen = seen_in(info, MODEL)
    assert seen is not None
    assert (seen.entropy, seen.realism, seen.expected_dice, list(seen.features)) == (0.3, -0.5, 0.7, [1.0, 2.0])
    assert info[SCORES]["light"] == "red"
    assert scores_of(info, MODEL, "v0003") is not None
    assert scores_of(info, MODEL, "v0002") is None


def test_a_study_that_cannot_be_looked_at_is_remembered_and_not_seen() -> None:
    info = info_of(None, ["light"], MODEL, "v0001")
    assert scores_of(info, MODEL, "v0001") is not None
    assert seen_in(info, MODEL) is None


# In the background


class Scored:
    """A scoring whose looks are counted, and can fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.seen = error, list[str]()
        self.task = type("Task", (), {"model": MODEL})()

    def due(self, datastore: object):
        if self.error:
            raise self.error
        yield from [name for name in ALL if name not in self.seen]

    def score(self, study: str, datastore: object, monitor: object) -> None:
        self.seen.append(study)


def until(true, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


def test_all_are_scored_in_spare_time() -> None:
    scoring = Scored()
    background = BackgroundScoring(scoring, None, Jobs(), every=0.01)  # type: ignore[arg-type]
    background.start()
    assert until(lambda: scoring.seen == list(ALL))
    background.stop()


def test_a_clinicians_request_goes_first() -> None:
    scoring, jobs = Scored(), Jobs()
    background = BackgroundScoring(scoring, None, jobs, every=0.01)  # type: ignore[arg-type]
    with jobs.run("other"):
        background.start()
        time.sleep(0.3)
        assert scoring.seen == []
    assert until(lambda: scoring.seen == list(ALL))
    background.stop()


@pytest.mark.parametrize("error", [ModelNotAvailable("gone"), RuntimeError("unexpected")])
def test_a_failure_does_not_end_it(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monailabel_app.activelearning.background.RETRY", 0.01)
    scoring = Scored(error)
    background = BackgroundScoring(scoring, None, Jobs(), every=0.01)  # type: ignore[arg-type]
    background.start()
    time.sleep(0.1)
    scoring.error = None
    assert until(lambda: scoring.seen == list(ALL))
    background.stop()


# Over HTTP


@pytest.fixture
def api(models: Path, tmp_path: Path) -> TestClient:
    studies = make_studies(tmp_path / "studies", 3)
    return client_of(ServerConfig(studies, tmp_path / "data", models=models))


def test_the_review_list_has_the_worst_first(api: TestClient) -> None:
    before = api.get("/review/tissue_segmentation").json()
    names, reviewed_version = before["studies"], before["version"]
    assert names, "the world has studies without labels"
    store: StudyDatastore = api.app.state.services.datastore  # type: ignore[attr-defined]
    for name, expected in zip([s["id"] for s in names], (0.9, 0.5), strict=False):
        told = {
            "model": "tissue_segmentation",
            "version": reviewed_version,
            "uncertainty": 0.2,
            "expected_dice": expected,
        }
        store.update_image_info(name, {SCORES: told})
    reviewed = api.get("/review/tissue_segmentation").json()
    figures = [s["expected_dice"] for s in reviewed["studies"]]
    assert figures[:2] == [0.5, 0.9]
    assert set(figures[2:]) <= {None}
    assert reviewed["scored"] == 2
    assert api.get("/review/nothing").status_code == 404


def test_the_next_study_says_why(api: TestClient) -> None:
    told = api.post("/activelearning/hybrid", json={"client_id": "me"}).json()
    assert told["medgan"]["strategy"] == "hybrid"
    assert told["medgan"]["reason"].endswith(".")
    assert "expected_dice" in told["medgan"]
    info = api.get("/info/").json()
    assert info["medgan"]["default_strategy"] in info["strategies"]

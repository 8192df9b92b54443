"""The history of labels: nothing is overwritten, every way back is open, and no crash tears it from the labels."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import client_of, error

from monailabel_app import datastore as datastore_module
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.history import LabelHistory
from monailabel_app.index import Studies, StudyIndex
from trainers.data.volumes import Volume, VolumeError, read_label, write_volume
from trainers.files import atomic_path

SHAPE = (4, 4, 4)
FORK = multiprocessing.get_context("fork")


def label_of(folder: Path, value: int, suffix: str = ".nii.gz") -> Path:
    """A label file whose voxels all are `value`."""
    path = folder / f"label_{value}{suffix}"
    write_volume(path, Volume(np.full(SHAPE, value, np.uint8), np.eye(4)))
    return path


def value_of(path: Path) -> int:
    return int(read_label(path).array.flat[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_volume(tmp_path / "studies" / f"{name}.nii.gz", Volume(np.zeros(SHAPE, np.float32), np.eye(4)))
    return tmp_path / "studies"


def opened(folder: Path) -> StudyDatastore:
    return StudyDatastore(folder, folder / ".medgan" / "backups")


@pytest.fixture
def store(folder: Path) -> StudyDatastore:
    return opened(folder)


def submit(store: StudyDatastore, folder: Path, value: int, author: str = "", study: str = "a", **info: Any) -> None:
    store.save_label(study, str(label_of(folder.parent, value)), "final", info, author)


def changes(store: StudyDatastore) -> list[tuple[str, str, int | None]]:
    return [(e.action, e.author, e.source) for e in store.label_history("a", "final")]


def now(store: StudyDatastore) -> int | None:
    """The value of the label that counts; None if there is none."""
    return value_of(store.label_path("a", "final")) if "a" in store.get_labeled_images() else None


def code_of(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(MedGANError) as caught:
        call(*arguments)
    return caught.value.code


def test_every_change_is_an_entry_with_a_file_of_its_own(store: StudyDatastore, folder: Path) -> None:
    submit(store, folder, 1, "Dr A", model="m", version="v0001")
    submit(store, folder, 2, "Dr B")
    store.remove_label("a", "final", "Dr C")
    assert changes(store) == [("submitted", "Dr A", None), ("submitted", "Dr B", None), ("removed", "Dr C", None)]
    first, second, third = store.label_history("a", "final")
    assert [value_of(store.label_entry_path("a", "final", n)) for n in (1, 2)] == [1, 2]
    assert (dict(first.voxels), dict(second.voxels), dict(third.voxels)) == ({"1": 64}, {"2": 64}, {})
    assert (first.info["model"], first.info["version"]) == ("m", "v0001")
    assert time.time() - 60 < time.mktime(time.strptime(first.time, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone < time.time()
    assert code_of(store.label_entry_path, "a", "final", 3) == "unknown_entry"
    assert code_of(store.label_entry_path, "a", "final", 4) == "unknown_entry"
    assert code_of(store.label_history, "b", "final") == "unknown_label"


def test_undo_goes_back_step_by_step_until_there_was_no_label(store: StudyDatastore, folder: Path) -> None:
    for value in (1, 2, 3):
        submit(store, folder, value, note=value)
    seen = []
    for _ in range(3):
        store.undo_label("a", "final", "Dr U")
        seen.append(now(store))
        if seen[-1]:
            assert store.get_label_info("a", "final")["note"] == seen[-1]
    assert seen == [2, 1, None]
    assert changes(store)[3:] == [("restored", "Dr U", 2), ("restored", "Dr U", 1), ("removed", "Dr U", None)]
    assert code_of(store.undo_label, "a", "final") == "conflict"
    assert [value_of(store.label_entry_path("a", "final", n)) for n in range(1, 6)] == [1, 2, 3, 2, 1]


def test_a_change_after_undo_is_taken_back_first(store: StudyDatastore, folder: Path) -> None:
    submit(store, folder, 1)
    submit(store, folder, 2)
    store.undo_label("a", "final")
    submit(store, folder, 3)
    store.undo_label("a", "final")
    assert now(store) == 1
    store.undo_label("a", "final")
    assert now(store) is None


def test_any_earlier_label_can_be_the_label_again(store: StudyDatastore, folder: Path) -> None:
    for value in (1, 2, 3):
        submit(store, folder, value)
    store.restore_label("a", "final", 1, "Dr R")
    assert (now(store), changes(store)[-1]) == (1, ("restored", "Dr R", 1))
    assert len(store.restore_label("a", "final", 4)) == 4, "it is the label already"
    store.remove_label("a", "final")
    store.undo_label("a", "final")
    assert now(store) == 1
    store.undo_label("a", "final")
    assert now(store) == 3, "the restoring was taken back"
    assert code_of(store.restore_label, "a", "final", 9) == "unknown_entry"


def test_a_label_of_another_format_comes_back_with_its_suffix(store: StudyDatastore, folder: Path) -> None:
    store.save_label("a", str(label_of(folder.parent, 1, ".nrrd")), "final", {})
    submit(store, folder, 2)
    store.undo_label("a", "final")
    assert [p.name for p in (folder / "labels" / "final").iterdir()] == ["a.nrrd"]
    assert now(opened(folder)) == 1


def test_a_label_that_others_put_into_the_folder_is_kept_when_it_is_replaced(
    store: StudyDatastore, folder: Path
) -> None:
    target = folder / "labels" / "final" / "a.nii.gz"
    target.write_bytes(label_of(folder.parent, 5).read_bytes())
    submit(store, folder, 6)
    assert changes(store) == [("found", "", None), ("submitted", "", None)]
    store.undo_label("a", "final")
    assert now(store) == 5
    assert code_of(store.undo_label, "a", "final") == "conflict"
    assert now(store) == 5, "what was found was nobody's change"
    target.write_bytes(label_of(folder.parent, 7).read_bytes())
    assert changes(store)[-1] == ("found", "", None)
    target.unlink()
    assert changes(store)[-1] == ("removed", "", None)
    store.undo_label("a", "final")
    assert now(store) == 7


def test_a_study_that_takes_a_removed_ones_id_has_no_history(store: StudyDatastore, folder: Path) -> None:
    submit(store, folder, 1)
    image = folder.parent / "other.nii.gz"
    write_volume(image, Volume(np.ones(SHAPE, np.float32), np.eye(4)))
    store.remove_image("a")
    store.add_image("a", str(image), {})
    assert code_of(store.label_history, "a", "final") == "unknown_label"
    kept = list((folder / ".medgan" / "backups" / "removed").rglob("0001.nii.gz"))
    assert [value_of(path) for path in kept] == [1]


def test_a_label_that_does_not_fit_the_image_any_more_stays_in_the_history(store: StudyDatastore, folder: Path) -> None:
    submit(store, folder, 1)
    store.remove_label("a", "final")
    write_volume(folder / "a.nii.gz", Volume(np.zeros((5, 5, 5), np.float32), np.eye(4)))
    with pytest.raises(VolumeError, match="grid"):
        store.undo_label("a", "final")
    assert now(store) is None and len(changes(store)) == 2


def agrees(store: StudyDatastore, study: str) -> bool:
    """Whether the newest entry, the label's file and what is known of it are of one change."""
    try:
        newest = store.label_history(study, "final")[-1]
    except MedGANError:
        return study not in store.get_labeled_images()
    if study not in store.get_labeled_images():
        return newest.action == "removed"
    file = store.label_path(study, "final")
    known = {"number", "submitted"} & set(store.get_label_info(study, "final"))
    same = all(store.get_label_info(study, "final")[key] == newest.info[key] for key in known)
    return bool(known) and same and hashlib.sha256(file.read_bytes()).hexdigest() == newest.checksum


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datastore_module, "write_through", die)


def at_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyIndex, "save", die)


def after_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    save = StudyIndex.save

    def save_and_die(index: StudyIndex, studies: Studies) -> None:
        save(index, studies)
        die()

    monkeypatch.setattr(StudyIndex, "save", save_and_die)


def at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelHistory, "finish", die)


@pytest.mark.parametrize("moment", [at_the_label, at_the_index, after_the_index, at_the_end])
@pytest.mark.parametrize("change", ["submit", "undo"])
def test_a_change_that_died_half_way_is_finished_at_the_next_access(
    store: StudyDatastore,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: Callable[[pytest.MonkeyPatch], None],
    change: str,
) -> None:
    submit(store, folder, 1)
    submit(store, folder, 2)

    def work() -> None:
        mine = opened(folder)
        with monkeypatch.context() as patch:
            moment(patch)
            submit(mine, folder, 3, "Dr K") if change == "submit" else mine.undo_label("a", "final", "Dr K")

    worker = FORK.Process(target=work)
    worker.start()
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    assert now(store) == (3 if change == "submit" else 1)
    assert changes(store)[2][1] == "Dr K" and len(changes(store)) == 3
    assert agrees(store, "a") and agrees(opened(folder), "a")
    store.undo_label("a", "final")
    assert now(store) == (2 if change == "submit" else None)


def test_killed_at_any_moment_history_and_labels_agree(folder: Path) -> None:
    files = [label_of(folder.parent, value) for value in (1, 2, 3)]

    def work(seed: int, ready: Event) -> None:
        mine, chance = opened(folder), random.Random(seed)
        for study in "ab":
            mine.save_label(study, str(files[0]), "final", {"number": -1})
        ready.set()
        for number in range(10_000):
            mine.save_label(chance.choice("ab"), str(chance.choice(files)), "final", {"number": number})
            if chance.random() < 0.3:
                mine.remove_label("a", "final") if "a" in mine.get_labeled_images() else mine.list_images()

    opened(folder)
    for seed in range(8):
        ready = FORK.Event()
        worker = FORK.Process(target=work, args=(seed, ready))
        worker.start()
        assert ready.wait(60)
        time.sleep(0.2 * random.Random(seed).random())
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(10)
        store = opened(folder)
        assert agrees(store, "a") and agrees(store, "b")
        for study in "ab":
            entries = store.label_history(study, "final")
            assert [e.number for e in entries] == list(range(1, len(entries) + 1))
            assert "found" not in {e.action for e in entries}, "nobody else was here"
            for entry in (e for e in entries if e.ext):
                file = store.label_entry_path(study, "final", entry.number)
                assert hashlib.sha256(file.read_bytes()).hexdigest() == entry.checksum


@pytest.mark.parametrize("place", [(datastore_module, "write_through"), (StudyIndex, "save"), (LabelHistory, "begin")])
def test_a_full_disk_changes_nothing(
    store: StudyDatastore, folder: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    submit(store, folder, 1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(OSError, match="space"):
            submit(store, folder, 2)
    assert now(store) == 1 and len(changes(store)) == 1
    submit(store, folder, 3)
    assert now(store) == 3 and len(changes(store)) == 2


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> TestClient:
    (tmp_path / "models").mkdir()
    return client_of(ServerConfig(folder, folder / ".medgan", models=tmp_path / "models"))


WHERE = {"label": "a", "tag": "final"}


def put(client: TestClient, folder: Path, value: int, **params: Any) -> Any:
    with label_of(folder.parent, value).open("rb") as stream:
        form = {"params": json.dumps(params)}
        return client.put("/datastore/label?image=a&tag=final", data=form, files={"label": ("l.nii.gz", stream)})


def test_clients_see_who_changed_what_and_take_it_back(client: TestClient, folder: Path, tmp_path: Path) -> None:
    first = put(client, folder, 1, author="Dr A", ts=1, submitted=1).json()["medgan"]
    assert first == {"voxels": {"1": 64}, "replaced": False, "history": 1, "training": None}
    assert client.get("/datastore/label/info", params=WHERE).json()["submitted"] > 1e9, "the time is the server's"
    assert put(client, folder, 2, author="  Dr   B ").json()["medgan"]["history"] == 2
    told = client.get("/datastore/label/history", params=WHERE).json()
    assert (told["label"], told["tag"], told["current"]) == ("a", "final", 2)
    assert set(told["entries"][0]) == {
        "number", "author", "time", "action", "model", "version", "voxels", "from", "undoes", "current",
    }  # fmt: skip
    assert [(e["author"], e["current"]) for e in told["entries"]] == [("Dr A", False), ("Dr B", True)]
    undone = client.post("/datastore/label/undo", params=WHERE, json={"author": "Dr C"}).json()
    assert (undone["current"], undone["entries"][2]["from"], undone["entries"][2]["undoes"]) == (3, 1, 2)
    again = client.post("/datastore/label/restore", params={**WHERE, "number": 2}, json={"author": "Dr C"}).json()
    assert (again["current"], again["entries"][3]["action"], again["entries"][3]["from"]) == (4, "restored", 2)
    for number, value in ((None, 2), (1, 1), (3, 1)):
        query = {**WHERE, **({"number": number} if number else {})}
        with atomic_path(tmp_path / "got.nii.gz") as path:
            path.write_bytes(client.get("/datastore/label", params=query).content)
        assert value_of(tmp_path / "got.nii.gz") == value
    assert client.delete("/datastore/label", params={"id": "a", "tag": "final", "author": "Dr D"}).status_code == 200
    last = client.get("/datastore/label/history", params=WHERE).json()
    assert (last["current"], last["entries"][-1]["action"], last["entries"][-1]["author"]) == (None, "removed", "Dr D")


def test_errors_of_the_history(client: TestClient, folder: Path) -> None:
    assert error(client.get("/datastore/label/history", params=WHERE)) == (404, "unknown_label")
    assert error(put(client, folder, 1, author=["x"])) == (400, "bad_params")
    assert error(put(client, folder, 1, author="x" * 201)) == (400, "bad_params")
    assert error(client.get("/datastore/label/history", params=WHERE)) == (404, "unknown_label"), "nothing was stored"
    put(client, folder, 1)
    assert error(client.get("/datastore/label", params={**WHERE, "number": 2})) == (404, "unknown_entry")
    assert error(client.post("/datastore/label/restore", params={**WHERE, "number": 2})) == (404, "unknown_entry")
    assert client.post("/datastore/label/undo", params=WHERE).json()["current"] is None
    assert error(client.post("/datastore/label/undo", params=WHERE)) == (409, "conflict")
    for bad in ("../x", ".."):
        assert error(client.get("/datastore/label/history", params={"label": "a", "tag": bad})) == (400, "bad_name")
        assert error(client.get("/datastore/label/history", params={"label": bad})) == (400, "bad_name")

"""The database of what is known of studies and labels: damage, other writers, other folders, earlier releases."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout

from monailabel_app import index as index_module
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.folder import IDENTITY
from monailabel_app.storage import storage_failure
from trainers.data.volumes import Volume, write_volume
from trainers.files import WRITING

STUDIES = ("a", "b", "c")
SMALL = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in STUDIES:
        write_volume(tmp_path / "studies" / f"{name}.nii.gz", SMALL)
    return tmp_path / "studies"


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "data" / "backups"


@pytest.fixture
def store(folder: Path, backups: Path) -> StudyDatastore:
    return StudyDatastore(folder, backups)


def database(backups: Path) -> Path:
    return next(backups.glob("*.sqlite3"))


def label(store: StudyDatastore, folder: Path, study: str = "a", **info: object) -> None:
    store.save_label(study, str(folder / "a.nii.gz"), "final", info, "Dr A")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def holes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE study SET info = '"no object"'""")


@pytest.mark.parametrize("damage", [cut_off, garbage, holes, foreign])
def test_damaged_index_is_set_aside_and_made_again(
    store: StudyDatastore,
    folder: Path,
    backups: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    label(store, folder, note=7)
    submitted = store.get_label_info("a", "final")["submitted"]
    store.close()
    damage(database(backups))
    again = StudyDatastore(folder, backups)
    assert again.list_images() == list(STUDIES)
    assert again.get_labeled_images() == ["a"]
    told = again.get_label_info("a", "final")
    assert (told["note"], told["submitted"]) == (7, submitted), "the history knows"
    assert len(again.label_history("a", "final")) == 1
    assert list(backups.glob("*.damaged")) and "made again" in caplog.text
    again.update_image_info("a", {"x": 1})
    assert StudyDatastore(folder, backups).get_image_info("a")["x"] == 1


def test_a_label_that_others_changed_meanwhile_is_not_taken_for_that_of_the_history(
    store: StudyDatastore, folder: Path, backups: Path
) -> None:
    label(store, folder, note=7)
    store.close()
    garbage(database(backups))
    write_volume(folder / "labels" / "final" / "a.nii.gz", SMALL.like(np.ones((4, 4, 4), np.uint8)))
    assert "note" not in StudyDatastore(folder, backups).get_label_info("a", "final")


def test_a_database_that_is_removed_while_the_server_runs(store: StudyDatastore, folder: Path, backups: Path) -> None:
    label(store, folder, note=7)
    store.update_image_info("b", {"verdict": "normal"})
    database(backups).unlink()
    store.update_image_info("c", {"x": 1})
    again = StudyDatastore(folder, backups)
    assert again.get_label_info("a", "final")["note"] == 7
    assert (again.get_image_info("b").get("verdict"), again.get_image_info("c")["x"]) == ("normal", 1)


def test_a_database_of_a_later_release_is_left_alone(store: StudyDatastore, folder: Path, backups: Path) -> None:
    store._index._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(MedGANError, match="later release"):
        StudyDatastore(folder, backups)
    assert not list(backups.glob("*.damaged"))


def test_changes_are_written_through_and_one_by_one(store: StudyDatastore, folder: Path) -> None:
    connection = store._index._connection
    told = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert told == ["wal", 2]
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    store.update_image_info("a", {"x": 1})
    written = [text for text in statements if text.startswith(("INSERT", "DELETE"))]
    assert all("'a'" in text for text in written) and statements.count("COMMIT") == 1


def test_who_waits_too_long_is_told_that_others_write(
    folder: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "BUSY_SECONDS", 0.05)
    store = StudyDatastore(folder, backups)
    other = sqlite3.connect(database(backups), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Timeout) as caught:
        store.update_image_info("a", {"x": 1})
    assert storage_failure(caught.value) == "busy"
    other.execute("ROLLBACK")
    assert "x" not in store.get_image_info("a")


def _write(folder: Path, backups: Path, name: str) -> None:
    store = StudyDatastore(folder, backups)
    for number in range(15):
        study = STUDIES[number % 3]
        label(store, folder, study, by=name) if number % 5 == 0 else None
        store.update_image_info(study, {f"{name}{number}": number})
    os._exit(0)


def test_two_processes_and_a_reader_lose_nothing(store: StudyDatastore, folder: Path, backups: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_write, args=(folder, backups, name)) for name in ("x", "y")]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        assert store.list_images() == list(STUDIES)
        time.sleep(0.01)
    assert [worker.exitcode for worker in workers] == [0, 0]
    known = {key for study in STUDIES for key in store.get_image_info(study) if key[0] in "xy"}
    assert len(known) == 30
    assert sum(len(store.label_history(study, "final")) for study in store.get_labeled_images()) == 6


OLD = {
    "name": "hospital", "description": "d", "images_dir": ".", "labels_dir": "labels",
    "objects": {
        "a": {"image": {"ext": ".nii.gz", "info": {"verdicts": {"m": "normal"}}},
              "labels": {"final": {"ext": ".nii.gz", "info": {"author": "Dr A"}}}},
        "gone": {"image": {"ext": ".nii.gz", "info": {}}, "labels": {}},
    },
}  # fmt: skip


def test_the_index_of_an_earlier_release_is_taken_in_once(folder: Path, backups: Path) -> None:
    document = folder / "datastore_v2.json"
    document.write_text(json.dumps(OLD))
    write_volume(folder / "labels" / "final" / "a.nii.gz", SMALL)
    store = StudyDatastore(folder, backups)
    assert (store.list_images(), store.name()) == (list(STUDIES), "hospital")
    assert store.verdicts("m") == {"a": "normal"}
    assert store.get_label_info("a", "final")["author"] == "Dr A"
    assert not document.exists() and list(backups.glob("*.imported"))
    store.update_image_info("a", {"verdicts": {"m": "abnormal"}})
    document.write_text(json.dumps(OLD))
    assert StudyDatastore(folder, backups).verdicts("m") == {"a": "abnormal"}, "what is known here is newer"


def test_a_damaged_index_of_an_earlier_release_is_set_aside(folder: Path, backups: Path) -> None:
    (folder / "datastore_v2.json").write_text("")
    assert StudyDatastore(folder, backups).list_images() == list(STUDIES)
    assert list(backups.glob("*.damaged"))


def test_one_data_folder_with_another_folder_of_studies(
    store: StudyDatastore, folder: Path, backups: Path, tmp_path: Path
) -> None:
    store.update_image_info("a", {"x": 1})
    write_volume(tmp_path / "others" / "a.nii.gz", SMALL)
    assert "x" not in StudyDatastore(tmp_path / "others", backups).get_image_info("a")
    assert StudyDatastore(folder, backups).get_image_info("a")["x"] == 1


def test_a_folder_that_moves_keeps_what_is_known_of_it(
    store: StudyDatastore, folder: Path, backups: Path, tmp_path: Path
) -> None:
    store.update_image_info("a", {"x": 1})
    folder.rename(tmp_path / "moved")
    assert StudyDatastore(tmp_path / "moved", backups).get_image_info("a")["x"] == 1


@pytest.mark.parametrize("text", ["", "../../x", "a b"])
def test_an_identity_that_is_none_is_made_anew(folder: Path, backups: Path, text: str) -> None:
    (folder / IDENTITY).write_text(text)
    StudyDatastore(folder, backups).update_image_info("a", {"x": 1})
    assert (folder / IDENTITY).read_text().strip().isalnum()
    assert database(backups).parent == backups


def test_names_and_descriptions_are_kept(store: StudyDatastore, folder: Path, backups: Path) -> None:
    store.set_name("hospital")
    store.set_description("d")
    again = StudyDatastore(folder, backups)
    assert (again.name(), again.description()) == ("hospital", "d")


def test_files_that_were_being_written_when_a_process_died_are_removed(folder: Path, backups: Path) -> None:
    StudyDatastore(folder, backups)
    dead = [folder / "labels" / "final", backups / "pending", folder]
    for place in dead:
        (place / f"{WRITING}x.nii.gz").write_bytes(b"half")
    os.utime(folder / f"{WRITING}x.nii.gz", (0, 0))
    (folder / f"{WRITING}import.nii.gz").write_bytes(b"another process writes it now")
    StudyDatastore(folder, backups)
    left = [p.name for p in folder.parent.rglob(f"{WRITING}*")]
    assert left == [f"{WRITING}import.nii.gz"]

"""The datastore: nothing lost to crashes or other writers, nothing written outside it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from server_world import crop, truth

from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from trainers.data.volumes import Volume, read_label, write_volume

STUDIES = ("a", "b", "c")
SMALL = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in STUDIES:
        write_volume(tmp_path / "studies" / f"{name}.nii.gz", SMALL)
    return tmp_path / "studies"


def opened(folder: Path) -> StudyDatastore:
    return StudyDatastore(folder, folder / ".medgan" / "backups")


@pytest.fixture
def store(folder: Path) -> StudyDatastore:
    return opened(folder)


@pytest.fixture
def label(tmp_path: Path) -> Path:
    path = tmp_path / "label.nii.gz"
    write_volume(path, truth(crop(0)))
    return path


def code_of(call: object, *arguments: object) -> str:
    with pytest.raises(MedGANError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_what_others_do_while_a_label_is_stored_is_seen(store: StudyDatastore, folder: Path, label: Path) -> None:
    for name in ("a", "b"):
        store.save_label(name, str(label), "final", {})
    final = folder / "labels" / "final"
    with store.transaction():
        store.save_label("a", str(label), "final", {})
        (final / "c.nii.gz").write_bytes(label.read_bytes())
    assert store.get_labeled_images() == ["a", "b", "c"]
    with store.transaction():
        store.save_label("a", str(label), "final", {})
        (final / "b.nii.gz").unlink()
    assert store.get_labeled_images() == ["a", "c"]


def test_lists_images_and_not_its_own_files(store: StudyDatastore, folder: Path) -> None:
    (folder / ".writing-x.nii.gz").write_bytes(b"half")
    (folder / "notes.txt").write_text("")
    assert store.list_images() == list(STUDIES)


def test_sees_files_that_others_add_and_remove(store: StudyDatastore, folder: Path, label: Path) -> None:
    write_volume(folder / "d.nrrd", SMALL)
    assert store.list_images() == [*STUDIES, "d"]
    (folder / "labels" / "final" / "d.nii.gz").write_bytes(label.read_bytes())
    assert store.get_labeled_images() == ["d"]
    (folder / "d.nrrd").unlink()
    assert store.list_images() == list(STUDIES)


@pytest.mark.parametrize("name", ["a.nii.gz.nii.gz", "x.nii.y.nii.gz", "UPPER.NII.GZ"])
def test_ids_lose_only_the_suffix(store: StudyDatastore, folder: Path, name: str) -> None:
    write_volume(folder / "tmp.nii.gz", SMALL)
    (folder / "tmp.nii.gz").rename(folder / name)
    study = name[: -len(".nii.gz")]
    assert study in store.list_images()
    assert store.image_path(study).name == name


def test_a_label_of_another_suffix_replaces_the_earlier_one(
    store: StudyDatastore, folder: Path, tmp_path: Path
) -> None:
    for suffix in (".nrrd", ".nii.gz"):
        write_volume(tmp_path / f"l{suffix}", SMALL)
        store.save_label("a", str(tmp_path / f"l{suffix}"), "final", {})
    assert [p.name for p in (folder / "labels" / "final").iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "..", "a/b", "a\\b", "C:x", "", "x" * 300, "a\0b", ".hidden"])
def test_names_with_paths_are_refused(store: StudyDatastore, folder: Path, label: Path, bad: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    assert code_of(store.image_path, bad) == "bad_name"
    assert code_of(store.save_label, "a", str(label), bad, {}) == "bad_name"
    assert code_of(store.save_label, bad, str(label), "final", {}) == "bad_name"
    if bad:
        assert code_of(store.add_image, bad, str(label), {}) == "bad_name"
    assert code_of(store.label_path, "a", bad) == "bad_name"
    assert code_of(store.remove_image, bad) == "bad_name"
    assert sorted(folder.parent.rglob("*")) == before


def test_unknown_names(store: StudyDatastore) -> None:
    assert code_of(store.image_path, "z") == "unknown_image"
    assert code_of(store.label_path, "a", "final") == "unknown_label"


def test_an_id_that_is_taken_is_not_overwritten(store: StudyDatastore, label: Path) -> None:
    before = store.image_path("a").read_bytes()
    assert code_of(store.add_image, "a", str(label), {}) == "conflict"
    assert store.image_path("a").read_bytes() == before


def test_checksum_follows_the_file(store: StudyDatastore, label: Path) -> None:
    first = store.checksum("a")
    assert first == store.checksum("a")
    store.image_path("a").write_bytes(label.read_bytes())
    assert store.checksum("a") != first


def test_nothing_that_it_tells_has_a_path(store: StudyDatastore, folder: Path, label: Path) -> None:
    store.save_label("a", str(label), "final", {})
    told = [store.json(), store.status(), store.pairs(), store.get_image_info("a"), store.get_label_info("a", "final")]
    assert str(folder) not in json.dumps(told)


def _write_labels(folder: Path, label: Path, ready: Event) -> None:
    store = opened(folder)
    ready.set()
    for number in range(10_000):
        store.save_label(random.choice(STUDIES), str(label), "final", {"number": number})


def test_kill_during_label_writes_leaves_index_and_labels_whole(folder: Path, label: Path) -> None:
    fork = multiprocessing.get_context("fork")
    opened(folder)
    for seed in range(8):
        ready = fork.Event()
        worker = fork.Process(target=_write_labels, args=(folder, label, ready))
        worker.start()
        assert ready.wait(60)
        time.sleep(0.05 + 0.15 * random.Random(seed).random())
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(10)
        store = opened(folder)
        assert store.list_images() == list(STUDIES)
        for study in store.get_labeled_images():
            read_label(store.label_path(study, "final"), [1, 2])
    assert not list((folder / ".medgan" / "backups").glob("*.damaged"))


def _write_infos(folder: Path, name: str) -> None:
    store = opened(folder)
    for number in range(20):
        store.update_image_info(STUDIES[number % 3], {f"{name}{number}": number})
    os._exit(0)


def test_two_writers_lose_nothing(folder: Path, store: StudyDatastore) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_write_infos, args=(folder, name)) for name in ("x", "y")]
    for worker in workers:
        worker.start()
    for number in range(20):
        store.update_image_info("a", {f"z{number}": number})
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    keys = {key for study in STUDIES for key in store.get_image_info(study) if key[0] in "xyz"}
    assert len(keys) == 60


@pytest.mark.parametrize("name", [b"\xff.nii.gz", b"new\nline.nii.gz", b"back\\slash.nii.gz", b"x:y.nii.gz"])
def test_a_file_whose_name_cannot_be_an_id_is_left_out_and_harms_nothing(
    store: StudyDatastore, folder: Path, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    os.link(folder / "a.nii.gz", os.fsencode(folder) + b"/" + name)
    assert store.list_images() == list(STUDIES)
    json.dumps(store.json(), ensure_ascii=False).encode()
    assert "rename it" in caplog.text
    store.update_image_info("a", {"note": 1})
    assert opened(folder).get_image_info("a")["note"] == 1
    assert not list((folder / ".medgan" / "backups").glob("*.damaged"))


@pytest.mark.parametrize("name", ["with space", "Ümläut ß", "a..b", "dots.v1.2", "-dash &?#%2f"])
def test_unusual_names_are_studies(store: StudyDatastore, folder: Path, label: Path, name: str) -> None:
    os.link(folder / "a.nii.gz", folder / f"{name}.nii.gz")
    assert name in store.list_images()
    assert store.save_label(name, str(label), "final", {}) == name
    assert store.label_path(name, "final").parent == folder / "labels" / "final"


def test_of_two_files_with_one_id_the_first_format_counts(
    store: StudyDatastore, folder: Path, label: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_volume(folder / "d.nrrd", SMALL)
    write_volume(folder / "d.nii.gz", SMALL)
    assert store.image_path("d").suffix == ".gz"
    assert "same id" in caplog.text
    next((folder / ".medgan" / "backups").glob("*.sqlite3")).unlink()
    assert opened(folder).image_path("d").suffix == ".gz"
    assert code_of(store.add_image, "d", str(label), {}) == "conflict"


def test_a_change_that_fails_leaves_no_trace(store: StudyDatastore, folder: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.update_image_info("a", {"bad": float("nan")})
    assert "bad" not in store.get_image_info("a")
    store.update_image_info("b", {"good": 1})
    assert opened(folder).get_image_info("b")["good"] == 1


def test_a_file_that_appears_during_a_change_is_seen(store: StudyDatastore, folder: Path) -> None:
    with store.transaction():
        os.link(folder / "a.nii.gz", folder / "late.nii.gz")
        store.update_image_info("a", {"note": 1})
    assert "late" in store.list_images()

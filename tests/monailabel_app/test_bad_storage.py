"""Disks that are full, folders that are closed or gone: a clear error, nothing half-written, and work goes on after."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import SimpleITK as sitk
from filelock import Timeout
from server_world import MODEL, client_of, crop, error, truth

from monailabel_app import errors, history, uploads
from monailabel_app.config import ServerConfig
from monailabel_app.index import StudyIndex
from monailabel_app.storage import storage_failure
from trainers import files
from trainers.data.volumes import write_volume


class Site:
    """A server with two studies, one of them labelled."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.config = ServerConfig(folder / "studies", folder / "data", models=models, rate_limit=0)
        for number in range(2):
            write_volume(self.config.studies / f"study_{number}.nii.gz", crop(number))
        write_volume(folder / "label.nii.gz", truth(crop(0)))
        self.folder, self.client = folder, client_of(self.config)
        assert self.label().status_code == 200

    def label(self) -> httpx.Response:
        return self._send("PUT", "/datastore/label", "label", "label.nii.gz", {"image": "study_0", "tag": "final"})

    def image(self) -> httpx.Response:
        return self._send("PUT", "/datastore/image", "file", "studies/study_1.nii.gz", {"image": "new"})

    def session(self) -> httpx.Response:
        return self._send("PUT", "/session/", "files", "studies/study_1.nii.gz", {})

    def _send(self, method: str, path: str, part: str, file: str, query: dict[str, str]) -> httpx.Response:
        with (self.folder / file).open("rb") as stream:
            return self.client.request(method, path, params=query, files={part: ("x.nii.gz", stream)})

    def infer(self, **params: str) -> httpx.Response:
        query = {"image": "study_0", "output": "json"}
        return self.client.post(f"/infer/{MODEL}", params=query, data={"params": json.dumps(params)})

    def train(self) -> httpx.Response:
        return self.client.post(f"/train/{MODEL}", json={})

    def serve(self) -> httpx.Response:
        return self.client.put(f"/models/{MODEL}/current", json={"version": "v0001"})

    def remove_label(self) -> httpx.Response:
        return self.client.delete("/datastore/label", params={"id": "study_0", "tag": "final"})

    def info(self, text: str = "a") -> httpx.Response:
        told = {"info": json.dumps({"a": text})}
        return self.client.put("/datastore/image/info", params={"image": "study_1"}, data=told)

    def state(self) -> dict[str, str]:
        """All files but locks, with their content; of the database, what it tells after the next access."""
        self.client.get("/datastore/")
        roots = (self.config.studies, self.config.data)
        found = {p for root in roots for p in root.rglob("*") if p.is_file() and not p.name.endswith(".lock")}
        index = next(p for p in found if p.suffix == ".sqlite3")
        files = {p for p in found if not p.name.startswith(index.name)}
        told = "\n".join(sqlite3.connect(index).iterdump())
        return {"index": told, **{str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}}

    @contextmanager
    def pragma(self, text: str, back: str) -> Iterator[None]:
        """SQLite itself fails meanwhile."""
        connection = self.client.app.state.services.datastore._index._connection  # type: ignore[attr-defined]
        connection.execute(f"PRAGMA {text}")
        yield
        connection.execute(f"PRAGMA {back}")


@pytest.fixture(scope="module")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"), models)


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/secret/Doe_John.nii.gz")


WRITES: dict[str, Callable[[Site], httpx.Response]] = {
    "label": Site.label, "image": Site.image, "session": Site.session, "serve": Site.serve,
    "remove a label": Site.remove_label, "train": Site.train,
}  # fmt: skip


@pytest.mark.parametrize("place", ["begin", "sync"])
@pytest.mark.parametrize("kind", WRITES)
def test_a_full_disk_is_told_and_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str, place: str
) -> None:
    before = site.state()
    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full) if place == "sync" else patch.setattr(files.tempfile, "mkstemp", full)
        answer = WRITES[kind](site)
    assert error(answer) == (507, "disk_full")
    assert answer.headers["retry-after"] == "60" and "Doe_John" not in answer.text
    assert site.state() == before


KNOWN: dict[str, Callable[[Site], httpx.Response]] = {
    "label": Site.label, "image": Site.image, "remove a label": Site.remove_label, "info": Site.info,
}  # fmt: skip


def test_a_database_without_room(site: Site) -> None:
    before = site.state()
    with site.pragma("max_page_count = 1", "max_page_count = 1073741823"):
        assert error(site.info("x" * 100_000)) == (507, "disk_full")
    assert site.state() == before
    assert site.info().status_code == 200


@pytest.mark.parametrize("kind", KNOWN)
def test_a_disk_that_is_full_when_the_database_is_written(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    before = site.state()
    with monkeypatch.context() as patch:
        patch.setattr(StudyIndex, "save", full)
        assert error(KNOWN[kind](site)) == (507, "disk_full")
    assert site.state() == before


@pytest.mark.parametrize("kind", KNOWN)
def test_a_database_that_is_read_only_changes_nothing(site: Site, kind: str) -> None:
    before = site.state()
    with site.pragma("query_only = ON", "query_only = OFF"):
        assert error(KNOWN[kind](site)) == (503, "storage_not_available")
        assert site.client.get("/datastore/").status_code == 200
    assert site.state() == before


def test_after_that_all_works_again(site: Site) -> None:
    assert site.label().status_code == 200
    assert site.session().status_code == 200
    assert site.infer().status_code == 200
    site.client.get("/session/")


def test_a_full_disk_while_an_upload_is_stored(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.state()
    with monkeypatch.context() as patch:
        patch.setattr(uploads.shutil, "copyfileobj", full)
        assert error(site.image()) == (507, "disk_full")
    assert site.state() == before
    assert list(site.config.temporary.iterdir()) == []


def test_a_full_disk_while_a_form_is_spooled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.datastructures import UploadFile

    async def write(self: UploadFile, data: bytes) -> None:
        full()

    with monkeypatch.context() as patch:
        patch.setattr(UploadFile, "write", write)
        assert error(site.image()) == (507, "disk_full")


def test_a_library_that_only_says_it_failed_is_asked_about_the_disk(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("sitk::ERROR: could not write")

    with monkeypatch.context() as patch:
        patch.setattr(sitk, "WriteImage", fail)
        assert error(site.infer(result_extension=".nrrd")) == (500, "server_error")
        patch.setattr("monailabel_app.storage.free_bytes", lambda folder: 100)
        assert error(site.infer(result_extension=".nrrd")) == (507, "disk_full")
    assert list(site.config.temporary.iterdir()) == []


@pytest.mark.parametrize("kind", WRITES)
def test_a_folder_that_is_read_only(site: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As root every folder can be written to, so the system's answer is given in its place."""

    def closed(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(site.config.studies))

    before = site.state()
    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkstemp", closed)
        answer = WRITES[kind](site)
    assert error(answer) == (503, "storage_not_available")
    assert str(site.config.studies) not in answer.text
    assert site.state() == before
    assert site.client.get("/info/").status_code == 200


def test_studies_that_others_hold_for_too_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: Any, **__: Any) -> None:
        raise Timeout("/secret/.lock")

    with monkeypatch.context() as patch:
        patch.setattr(history, "copy_file", held)
        answer = site.label()
    assert error(answer) == (503, "busy")
    assert answer.headers["retry-after"] == "60" and "secret" not in answer.text


def test_a_study_that_vanishes(site: Site) -> None:
    path, kept = site.config.studies / "study_1.nii.gz", site.folder / "kept.nii.gz"
    shutil.move(path, kept)
    try:
        for method, address in (("GET", "/datastore/image?image=study_1"), ("POST", f"/infer/{MODEL}?image=study_1")):
            assert error(site.client.request(method, address)) == (404, "unknown_image")
    finally:
        shutil.move(kept, path)
    assert site.client.get("/datastore/image?image=study_1").status_code == 200


def test_a_study_that_vanishes_between_two_looks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    store = site.client.app.state.services.datastore  # type: ignore[attr-defined]
    monkeypatch.setattr(store, "image_path", lambda image: site.config.studies / "gone.nii.gz")
    assert error(site.client.get("/datastore/image?image=study_1")) == (404, "not_found")
    assert error(site.client.post(f"/infer/{MODEL}?image=study_1"))[0] in (404, 415)


def test_a_labels_folder_that_is_removed(site: Site) -> None:
    assert site.label().status_code == 200
    labels, kept = site.config.studies / "labels", site.folder / "kept"
    shutil.move(labels, kept)
    query = {"label": "study_0", "tag": "final"}
    assert error(site.client.get("/datastore/label", params=query)) == (404, "unknown_label")
    assert site.client.get("/datastore/").json()["completed"] == 0
    assert site.client.get("/datastore/image?image=study_0").status_code == 200
    assert site.label().status_code == 200, "it is made again"
    assert len(site.client.get("/datastore/label/history", params=query).json()["entries"]) >= 2, "nothing is forgotten"


def test_a_studies_folder_that_is_removed(site: Site) -> None:
    kept = site.folder / "unmounted"
    site.config.studies.rename(kept)
    try:
        for call in (site.label, site.infer, site.info):
            assert error(call()) == (503, "storage_not_available")
        assert error(site.client.get("/ready")) == (503, "not_ready")
        assert site.client.get("/health").status_code == 200
    finally:
        shutil.rmtree(site.config.studies, ignore_errors=True)
        kept.rename(site.config.studies)
    assert site.label().status_code == 200
    assert site.client.get("/datastore/").json()["total"] == 2


def test_an_unmounted_disk_leaves_an_empty_folder_and_nothing_is_forgotten(site: Site) -> None:
    assert site.label().status_code == site.info("kept").status_code == 200
    disk = site.folder / "disk"
    site.config.studies.rename(disk)
    site.config.studies.mkdir()
    try:
        for call in (site.label, site.infer, site.info):
            assert error(call()) == (503, "storage_not_available")
    finally:
        shutil.rmtree(site.config.studies)
        disk.rename(site.config.studies)
    assert site.client.get("/datastore/").json()["completed"] == 1
    assert site.client.get("/datastore/image/info?image=study_1").json()["a"] == "kept"


def test_other_failures_are_not_the_storages() -> None:
    assert storage_failure(ZeroDivisionError()) == ""
    assert storage_failure(ConnectionResetError()) == ""
    assert set(errors.STORAGE) <= set(errors.STATUS)

"""An export that nobody wants any more stops, and leaves nothing; one that reaches the archive is whole there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dicom_world import make_series
from fastapi.testclient import TestClient
from server_world import client_of, error

from monailabel_app.config import ServerConfig
from monailabel_app.dicom import deidentify, derived, export, import_series
from monailabel_app.dicom.web import Archive
from monailabel_app.routes import dicom
from trainers.data.volumes import read_volume, write_volume

JOB = "export-1"


@dataclass
class Desk:
    """A server with one study from DICOM, an image that was made of it, and an archive that keeps what it is given."""

    config: ServerConfig
    client: TestClient
    study: str
    image: Path
    archived: list[int]

    def export(self, **query: Any) -> Any:
        data = {"params": json.dumps({"job_id": JOB, "model": "mr_super_resolution", "version": "v0001"})}
        files = {"file": (self.image.name, self.image.read_bytes())}
        return self.client.post("/dicom/export", params={"image": self.study, **query}, data=data, files=files)

    def cancel(self) -> None:
        assert self.client.delete(f"/jobs/{JOB}").status_code == 200

    @property
    def state(self) -> str:
        return str(self.client.get(f"/jobs/{JOB}").json()["state"])

    def left(self) -> list[Path]:
        return list(self.config.temporary.rglob("*"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    studies = tmp_path / "studies"
    make_series(studies / "scan")
    config = ServerConfig(studies, studies / ".medgan", dicomweb="http://127.0.0.1:1/dicom-web")
    config.prepare()
    (study,) = import_series(config.studies, config.data)
    write_volume(tmp_path / "made.nrrd", read_volume(config.studies / f"{study}.nii.gz"))
    archived: list[int] = []
    monkeypatch.setattr(Archive, "store", lambda self, files: archived.append(len(files)))
    return Desk(config, client_of(config), study, tmp_path / "made.nrrd", archived)


def after(calls: int, work: Callable[..., Any], then: Callable[[], Any], seen: list[int]) -> Callable[..., Any]:
    """A function that does something beside its work when it is called for the nth time."""

    def wrapped(*args: Any, **more: Any) -> Any:
        seen.append(len(seen))
        if len(seen) == calls:
            then()
        return work(*args, **more)

    return wrapped


def test_cancelled_between_two_slices(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(derived, "_slice", after(3, derived._slice, desk.cancel, seen))
    assert error(desk.export(deidentify="true")) == (409, "cancelled")
    assert len(seen) == 3, "no slice is made after the one that was under way"
    assert (desk.archived, desk.left(), desk.state) == ([], [], "cancelled")


def test_cancelled_while_names_are_taken_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    hide = deidentify.deidentify_file
    monkeypatch.setattr(deidentify, "deidentify_file", after(2, hide, desk.cancel, seen))
    assert error(desk.export(download="true")) == (409, "cancelled")
    assert (len(seen), desk.left(), desk.state) == (2, [], "cancelled")


def test_a_download_that_is_cancelled_when_it_is_packed_leaves_no_zip(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = export.pack

    def packed(*args: Any) -> Path:
        bundle = pack(*args)
        desk.cancel()
        return bundle

    monkeypatch.setattr(export, "pack", packed)
    assert error(desk.export(download="true")) == (409, "cancelled")
    assert (desk.left(), desk.state) == ([], "cancelled")


def test_a_client_that_hangs_up_cancels_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "hung_up", lambda request: lambda: True)
    assert error(desk.export(deidentify="true")) == (409, "cancelled")
    assert (desk.archived, desk.left(), desk.state) == ([], [], "cancelled")


def test_what_the_archive_has_is_not_called_cancelled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def store(self: Archive, files: Sequence[Path]) -> None:
        desk.cancel()
        desk.archived.append(len(files))

    monkeypatch.setattr(Archive, "store", store)
    answer = desk.export(deidentify="true")
    assert (answer.status_code, answer.json()["instances"]) == (200, 7)
    assert (desk.archived, desk.left(), desk.state) == ([7], [], "done")


def test_a_job_id_is_checked_and_may_be_absent(desk: Desk) -> None:
    for name in ("../x", "a b"):
        data = {"params": json.dumps({"job_id": name})}
        assert error(desk.client.post("/dicom/export", params={"image": desk.study}, data=data)) == (400, "bad_name")
    plain = desk.client.post("/dicom/export", params={"image": desk.study})
    assert error(plain) == (404, "unknown_label")

"""What others do to a study between the steps of a request: no label goes to another patient, no answer breaks off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from server_world import MODEL, client_of, crop, error, truth

from monailabel_app import dicom
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.finetune.split import Splits
from monailabel_app.routes import labels as module
from monailabel_app.routes.sending import OpenFile
from trainers.data.volumes import Volume, write_volume
from trainers.files import read_json


class Site:
    """A server with three studies, the first two of them labelled, and another client that removes them."""

    def __init__(self, folder: Path, models: Path, **more: Any) -> None:
        self.config = ServerConfig(folder / "studies", folder / "data", models=models, rate_limit=0, **more)
        for number in range(3):
            write_volume(self.config.studies / f"study_{number}.nii.gz", crop(number))
        self.folder, self.client = folder, client_of(self.config)
        self.other = StudyDatastore(self.config.studies, self.config.data / "backups")
        for number in range(2):
            assert self.label(number).status_code == 200

    def label(self, number: int, label: Volume | None = None, tag: str = "final", **params: Any) -> httpx.Response:
        path = self.folder / "sent.nii.gz"
        write_volume(path, label or truth(crop(number)))
        query, data = {"image": f"study_{number}", "tag": tag}, {"params": json.dumps(params)}
        with path.open("rb") as file:
            return self.client.put("/datastore/label", params=query, data=data, files={"label": (path.name, file)})

    def image(self, name: str, volume: Volume) -> httpx.Response:
        path = self.folder / "new.nii.gz"
        write_volume(path, volume)
        with path.open("rb") as file:
            return self.client.put("/datastore/image", params={"image": name}, files={"file": (path.name, file)})


@pytest.fixture
def site(models: Path, tmp_path: Path) -> Site:
    return Site(tmp_path, models)


def after(function: Callable[..., Any], then: Callable[[], Any]) -> Callable[..., Any]:
    """A function after whose first call something else happens."""
    left = [then]

    def called(*args: Any, **more: Any) -> Any:
        found = function(*args, **more)
        if left:
            left.pop()()
        return found

    return called


def test_a_new_image_gets_neither_label_nor_history_of_one_that_was_removed_by_hand(site: Site) -> None:
    (site.config.studies / "study_0.nii.gz").unlink()
    assert site.image("study_0", crop(0)).status_code == 200
    query = {"label": "study_0", "tag": "final"}
    for path in ("/datastore/label", "/datastore/label/history", "/datastore/label/info"):
        assert error(site.client.get(path, params=query)) == (404, "unknown_label")
    assert error(site.client.post("/datastore/label/restore", params={**query, "number": 1})) == (404, "unknown_label")
    assert [pair["image"] for pair in site.client.get("/datastore/?output=train").json()] == ["study_1.nii.gz"]
    kept = (site.config.data / "backups" / "removed" / "final").rglob("*.nii.gz")
    assert sorted(path.name for path in kept) == ["0001.nii.gz", "study_0.nii.gz"]


def test_the_history_goes_with_an_image_that_is_removed_by_hand(site: Site) -> None:
    histories = site.config.data / "backups" / "labels" / "final"
    image = site.config.studies / "study_0.nii.gz"
    content = image.read_bytes()
    image.unlink()
    site.client.get("/datastore/")
    assert [path.name for path in histories.iterdir()] == ["study_1"]
    image.write_bytes(content)
    history = site.client.get("/datastore/label/history", params={"label": "study_0"}).json()
    assert [entry["action"] for entry in history["entries"]] == ["found"], "nothing of before can be restored"


def test_an_image_that_only_changed_its_format_keeps_its_history(site: Site) -> None:
    (site.config.studies / "study_0.nii.gz").unlink()
    write_volume(site.config.studies / "study_0.nrrd", crop(0))
    history = site.client.get("/datastore/label/history", params={"label": "study_0"}).json()
    assert [entry["action"] for entry in history["entries"]] == ["submitted"]


def test_a_label_is_not_stored_with_an_image_that_came_meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced() -> None:
        site.other.remove_image("study_2")
        site.other.add_image("study_2", str(site.config.studies / "study_0.nii.gz"), {})

    monkeypatch.setattr(module, "read_label", after(module.read_label, replaced))
    assert error(site.label(2)) == (409, "conflict")
    assert site.client.get("/datastore/").json()["completed"] == 2


@pytest.mark.parametrize("told", [{"model": MODEL}, {"label_info": [{"name": "light", "idx": 1}]}])
def test_an_empty_label_is_not_the_last_word(site: Site, told: dict[str, Any]) -> None:
    empty = crop(2).like(np.zeros(crop(2).shape, np.uint8))
    assert error(site.label(2, empty, **told)) == (422, "wrong_labels")
    assert site.label(2, empty, tag="draft", **told).status_code == 200


@pytest.mark.parametrize("path", ["/datastore/image?image=study_0", "/datastore/label?label=study_0&tag=final"])
@pytest.mark.parametrize("span", [None, "bytes=5-14"])
def test_a_download_is_whole_though_the_study_is_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, span: str | None
) -> None:
    headers = {"Range": span} if span else {}
    before = site.client.get(path, headers=headers)
    assert before.status_code == (206 if span else 200) and before.headers["etag"] and before.content
    send = OpenFile.__call__

    async def late(self: OpenFile, *connection: Any) -> None:
        site.other.remove_image("study_0")
        await send(self, *connection)

    monkeypatch.setattr(OpenFile, "__call__", late)
    found = site.client.get(path, headers=headers)
    assert (found.status_code, found.content) == (before.status_code, before.content)
    names = ("content-length", "content-disposition", "content-type", "etag", "last-modified", "accept-ranges")
    assert {name: found.headers.get(name) for name in names} == {name: before.headers.get(name) for name in names}
    assert error(site.client.get(path)) == (404, "unknown_image")


def test_a_file_that_was_sent_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"voxels")
    answer, sent = OpenFile(tmp_path / "a.nii"), []

    async def receive() -> dict[str, Any]:
        await anyio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    anyio.run(answer, {"type": "http", "method": "HEAD", "headers": []}, receive, send)
    assert sent[0]["status"] == 200 and answer._file.closed


@pytest.mark.parametrize(
    ("path", "first", "left"),
    [
        ("/datastore/?output=train", ("get_labeled_images",), ["study_0.nii.gz", "study_1.nii.gz"]),
        (f"/review/{MODEL}", ("get_unlabeled_images", "acquired"), ["study_2"]),
    ],
)
def test_a_list_is_whole_though_a_study_is_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, first: tuple[str, ...], left: list[str]
) -> None:
    gone = "study_1" if "train" in path else "study_2"
    for name in first:
        removed = after(getattr(StudyDatastore, name), lambda: site.other.remove_image(gone))
        monkeypatch.setattr(StudyDatastore, name, removed)
    answer = site.client.get(path)
    assert answer.status_code == 200
    body = answer.json()
    found = [pair["image"] for pair in body] if isinstance(body, list) else [study["id"] for study in body["studies"]]
    assert found == left


def test_a_picture_can_be_the_image_of_a_session(site: Site) -> None:
    path = site.folder / "picture.nii.gz"
    write_volume(path, Volume(np.ones((16, 12, 1), np.float32), np.eye(4)))
    with path.open("rb") as file:
        answer = site.client.put("/session/", files={"files": (path.name, file)})
    assert answer.status_code == 200
    session = {"session_id": answer.json()["session_id"], "output": "json"}
    assert error(site.client.post(f"/infer/{MODEL}", params=session)) == (422, "cannot_process")


def test_a_removal_says_what_was_done_when_only_the_rest_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(dicom, "forget", forget)
    answer = site.client.delete("/datastore/image", params={"id": "study_0"})
    assert error(answer) == (503, "storage_not_available")
    assert "were removed" in answer.json()["detail"] and "nothing was changed" not in answer.json()["detail"]
    assert site.client.get("/datastore/").json()["total"] == 2


def test_a_patient_leaves_the_splits_with_the_last_study(models: Path, tmp_path: Path) -> None:
    site = Site(tmp_path, models, patient_pattern=r"study_\d")
    write_volume(site.config.studies / "study_0b.nii.gz", crop(0))
    splits = site.config.data / "splits"
    Splits(splits, MODEL).update({"study_0", "study_1"})
    for study, patients in (("study_0", ["study_0", "study_1"]), ("study_0b", ["study_1"])):
        assert site.client.delete("/datastore/image", params={"id": study}).status_code == 200
        assert sorted(read_json(splits / f"{MODEL}.json")["patients"]) == patients

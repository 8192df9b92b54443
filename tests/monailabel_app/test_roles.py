"""Persons whom an identity provider knows: whose labels, runs and jobs are whose, and what needs the role."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from identity import AUDIENCE, ISSUER, Identity
from server_world import MODEL, client_of, crop, error, truth
from test_training_queue import Machine

from monailabel_app import processes
from monailabel_app.config import ServerConfig
from monailabel_app.finetune.queue import TrainingQueue
from monailabel_app.users import OWNER
from trainers.data.volumes import write_volume

TOKEN = "the-shared-token-of-the-server"
WHERE = {"label": "study_0", "tag": "final"}


class Hospital:
    """A server with persons, that trains nothing."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.identity = Identity(folder)
        self.config = ServerConfig(
            folder / "studies", folder / "data", models=models, token=TOKEN, oidc_issuer=ISSUER,
            oidc_audience=AUDIENCE, oidc_jwks=str(self.identity.file),
        )  # fmt: skip
        write_volume(self.config.studies / "study_0.nii.gz", crop(0))
        write_volume(folder / "label.nii.gz", truth(crop(0)))
        self.label = folder / "label.nii.gz"
        self.client: TestClient = client_of(self.config)
        state: Any = self.client.app
        queue = TrainingQueue(self.config.runs, Machine(), state.state.services.registry)
        self.services = state.state.services = dataclasses.replace(state.state.services, training=queue)

    def ask(self, who: str, method: str, path: str, admin: bool = False, **more: Any) -> httpx.Response:
        return self.client.request(method, path, headers=self.identity.bearer(who, admin), **more)

    def submit(self, who: str, **params: Any) -> httpx.Response:
        more = {"params": {"image": "study_0", "tag": "final"}, "data": {"params": json.dumps(params)}}
        with self.label.open("rb") as stream:
            return self.ask(who, "PUT", "/datastore/label", **more, files={"label": ("label.nii.gz", stream)})

    def history(self) -> list[tuple[str, str]]:
        entries = self.ask("ada", "GET", "/datastore/label/history", params=WHERE).json()["entries"]
        return [(entry["action"], entry["author"]) for entry in entries]


@pytest.fixture(scope="module")
def hospital(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return Hospital(tmp_path_factory.mktemp("hospital"), models)


ADMINISTRATION = [
    ("PUT", f"/models/{MODEL}/current", {"json": {"version": "v0001"}}),
    ("GET", "/logs/", {}),
    ("DELETE", "/datastore/image?id=nobody", {}),
    ("DELETE", "/datastore/?id=nobody", {}),
]


@pytest.mark.parametrize(("method", "path", "more"), ADMINISTRATION)
def test_administration_needs_the_role(hospital: Hospital, method: str, path: str, more: dict[str, Any]) -> None:
    assert error(hospital.ask("ada", method, path, **more)) == (403, "admin_required")
    assert hospital.ask("chief", method, path, admin=True, **more).status_code in (200, 404)
    shared = hospital.client.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"}, **more)
    assert shared.status_code in (200, 404), "who has the shared token is an administrator"


def test_tokens_are_checked_at_the_door(hospital: Hospital) -> None:
    assert error(hospital.client.get("/info/")) == (401, "token_required")
    for change in ({"aud": "x"}, {"exp": 1}, {"iss": "https://x"}):
        answer = hospital.client.get("/info/", headers=hospital.identity.bearer(**change))
        assert error(answer) == (401, "token_required")
    told = hospital.ask("ada", "GET", "/info/").json()["medgan"]
    assert told["token_required"] is True
    assert told["user"] == {"name": "Dr ada", "admin": False}


def test_stock_clients_log_in_with_a_token_as_the_password(hospital: Hospital) -> None:
    assert hospital.client.get("/auth/").json()["enabled"] is True
    for password in (hospital.identity.token(), TOKEN):
        answer = hospital.client.post("/auth/token", data={"username": "x", "password": password})
        assert answer.json() == {"access_token": password, "token_type": "Bearer"}
    answer = hospital.client.post("/auth/token", data={"username": "x", "password": hospital.identity.token(exp=1)})
    assert error(answer) == (401, "token_required")


def test_on_this_computer_everybody_is_an_administrator(models: Path, tmp_path: Path) -> None:
    client = client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))
    assert client.get("/info/").json()["medgan"]["user"] == {"name": "", "admin": True}
    assert client.get("/logs/").status_code == 200


def test_the_author_of_a_label_is_who_logged_in_and_only_that_person_takes_it_back(hospital: Hospital) -> None:
    assert hospital.submit("ada", author="Dr Somebody", owner="bob").status_code == 200
    assert hospital.history() == [("submitted", "Dr ada")]
    told = hospital.ask("bob", "GET", "/datastore/label/info", params=WHERE).json()
    assert (told["author"], told[OWNER]) == ("Dr ada", "ada")
    lie = {"data": {"info": json.dumps({"author": "Dr bob", OWNER: "bob", "note": "n"})}, "params": WHERE}
    assert error(hospital.ask("bob", "PUT", "/datastore/label/info", **lie)) == (403, "admin_required")
    assert hospital.ask("ada", "PUT", "/datastore/label/info", **lie).status_code == 200
    told = hospital.ask("bob", "GET", "/datastore/label/info", params=WHERE).json()
    assert (told["author"], told[OWNER], told["note"]) == ("Dr ada", "ada", "n")

    gone = {"params": {"id": "study_0", "tag": "final"}}
    assert error(hospital.ask("bob", "DELETE", "/datastore/label", **gone)) == (403, "admin_required")
    assert error(hospital.ask("bob", "POST", "/datastore/label/undo", params=WHERE)) == (403, "admin_required")
    assert hospital.submit("bob").status_code == 200, "a second reader may correct it; the first label stays"
    body = {"json": {"author": "Dr Somebody"}}
    assert hospital.ask("bob", "POST", "/datastore/label/undo", params=WHERE, **body).status_code == 200
    assert error(hospital.ask("bob", "DELETE", "/datastore/label", **gone)) == (403, "admin_required")
    assert hospital.ask("ada", "DELETE", "/datastore/label", **gone).status_code == 200
    assert hospital.history() == [
        ("submitted", "Dr ada"), ("submitted", "Dr bob"), ("restored", "Dr bob"), ("removed", "Dr ada"),
    ]  # fmt: skip


def test_a_run_belongs_to_who_asked(hospital: Hospital) -> None:
    hospital.submit("ada")
    body = {"json": {"author": "Dr Somebody", "client_id": "x"}}
    first = hospital.ask("ada", "POST", f"/train/{MODEL}", **body).json()["medgan"]
    second = hospital.ask("bob", "POST", f"/train/{MODEL}", **body).json()["medgan"]
    assert (first["author"], second["author"], second["state"]) == ("Dr ada", "Dr bob", "queued")
    assert error(hospital.ask("ada", "DELETE", f"/train/runs/{second['run']}")) == (403, "admin_required")
    assert hospital.ask("bob", "DELETE", f"/train/runs/{second['run']}").json()["state"] == "cancelled"
    assert error(hospital.ask("bob", "DELETE", f"/train/runs/{first['run']}")) == (403, "admin_required")
    answer = hospital.ask("chief", "DELETE", f"/train/runs/{first['run']}", admin=True)
    assert answer.json()["state"] == "cancelled"
    assert "ada" not in json.dumps({**first, "author": ""}), "the subject is nobody else's business"


def test_a_job_belongs_to_who_asked(hospital: Hospital) -> None:
    with hospital.services.jobs.run(MODEL, "mine", owner="ada") as job:
        assert error(hospital.ask("bob", "DELETE", "/jobs/mine")) == (403, "admin_required")
        assert hospital.ask("bob", "GET", "/jobs/mine").json()["state"] == "running"
        job.check()


def test_background_work_belongs_to_who_started_it(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"id": "1", "status": "RUNNING", "request": {}, OWNER: "ada"}
    ended: list[str] = []
    monkeypatch.setattr(processes, "active", lambda method: task)
    monkeypatch.setattr(processes, "kill", lambda method, task: ended.append(method))
    for path in ("/batch/infer", "/scoring/"):
        assert error(hospital.ask("bob", "DELETE", path)) == (403, "admin_required")
        assert OWNER not in hospital.ask("ada", "DELETE", path).json()
    assert ended == ["batch_infer", "scoring"]

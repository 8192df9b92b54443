"""Following a training by server-sent events."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from server_world import MODEL, client_of, error

from monailabel_app import following
from monailabel_app.config import ServerConfig
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.runs import close_run, new_run, update_run
from monailabel_app.following import Followers
from monailabel_app.routes import train
from monailabel_app.services import Services

EVENTS = "/train/events"


@pytest.fixture
def client(tmp_path: Path, models: Path) -> TestClient:
    """The whole application, in this process."""
    return client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))


def services(client: TestClient) -> Services:
    found: Services = client.app.state.services
    return found


def followed(client: TestClient) -> list[dict[str, Any]]:
    """All events, when the stream has ended."""
    answer = client.get(EVENTS)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def begun(client: TestClient) -> str:
    """A run that goes on, in the hands of the test."""
    runs = services(client).config.runs
    run = new_run(runs, MODEL)
    update_run(runs, run, state="training", started=time.time())
    return run


def test_there_was_no_training(client: TestClient) -> None:
    assert error(client.get(EVENTS)) == (404, "no_training")


def test_a_run_that_has_ended_is_told_once(client: TestClient) -> None:
    close_run(services(client).config.runs, begun(client), "cancelled")
    (told,) = followed(client)
    assert told["medgan"]["state"] == "cancelled" and told == client.get("/train/").json()


def test_each_change_is_told_until_the_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (train, following):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    runs, run = services(client).config.runs, begun(client)

    def go_on() -> None:
        for step in (1, 2):
            time.sleep(0.3)
            update_run(runs, run, step=step)
        time.sleep(0.3)
        close_run(runs, run, "promoted")

    worker = threading.Thread(target=go_on)
    worker.start()
    told = followed(client)
    worker.join()
    assert [(event["medgan"]["state"], event["medgan"]["step"]) for event in told] == [
        ("training", 0),
        ("training", 1),
        ("training", 2),
        ("promoted", 2),
    ]


def test_it_ends_after_a_while_and_with_the_server(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(client)
    monkeypatch.setattr(train, "FOLLOW_SECONDS", 0.5)
    assert len(followed(client)) == 1
    monkeypatch.setattr(train, "FOLLOW_SECONDS", 600.0)
    threading.Timer(0.5, services(client).followers.leave).start()
    assert len(followed(client)) == 1


def test_places_are_limited_and_given_back(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    close_run(services(client).config.runs, begun(client), "cancelled")
    followers = services(client).followers
    monkeypatch.setattr(followers, "_places", threading.BoundedSemaphore(1))
    for _ in range(3):
        assert followed(client)
    with followers.place():
        assert error(client.get(EVENTS)) == (503, "busy")
    assert followed(client)


def test_a_run_that_cannot_be_read_ends_the_stream_and_not_the_server(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([{"medgan": {"state": "training"}, "queue": []}] * 2)

    def told(s: Services) -> dict[str, Any]:
        if found := next(looks, None):
            return found
        raise MedGANError("unknown_run", "It is gone.")

    monkeypatch.setattr(train, "status", told)
    assert len(followed(client)) == 1
    assert error(client.get(EVENTS)) == (404, "unknown_run")


def test_those_who_follow_look_together() -> None:
    followers, made = Followers(), iter(range(10))
    assert followers.look(lambda: next(made), fresh=True) == 0
    assert followers.look(lambda: next(made), fresh=False) == 0
    assert followers.look(lambda: next(made), fresh=True) == 1, "who begins is not told what was before"
    followers._seen = (followers._seen[0] - 1, followers._seen[1])
    assert followers.look(lambda: next(made), fresh=False) == 2


def test_a_server_that_ends_takes_no_more() -> None:
    followers = Followers()
    followers.leave()
    with pytest.raises(MedGANError), followers.place():
        raise AssertionError


def test_places() -> None:
    followers = Followers(1)
    with followers.place(), pytest.raises(MedGANError) as caught, followers.place():
        raise AssertionError
    assert caught.value.code == "busy"
    with followers.place():
        assert not followers.leaving


def test_the_signal_that_ends_the_server_ends_following_and_goes_on_to_the_server() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        followers = Followers()
        mine = signal.getsignal(signal.SIGTERM)
        with followers.until_the_end():
            os.kill(os.getpid(), signal.SIGTERM)
            assert followers.leaving and heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_nobody_hears_stays_what_it_is() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with Followers().until_the_end():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signals_are_left_alone_outside_of_the_main_thread() -> None:
    found: list[Any] = []

    def elsewhere() -> None:
        with Followers().until_the_end():
            found.append(signal.getsignal(signal.SIGTERM))

    worker = threading.Thread(target=elsewhere)
    worker.start()
    worker.join()
    assert found == [signal.getsignal(signal.SIGTERM)]

"""Following a training by the server's events: their format, the client's call, and the workflow."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from MedGANLib import errors
from MedGANLib.cancel import CancelToken
from MedGANLib.client import MedGANClient
from MedGANLib.events import MAX_EVENT, event_data
from MedGANLib.workflow import Workflow

from .clinic import Clinic, until
from .fake_server import Exchange, FakeServer

PATH = "/train/events"
RUNNING = {"state": "training", "epoch": 1, "epochs": 3, "loss": [[1, 0.6]], "run": "a"}
PROMOTED = {"state": "promoted", "run": "a", "epoch": 3, "epochs": 3}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_events_come_out_however_they_are_cut(size: int) -> None:
    text = ': a sign of life\n\ndata: {"a":\ndata: "\u00e9"}\nid: 7\n\n\n'
    text += "event: x\r\ndata:plain\r\n\r\ndata: cr\r\rdata: lost"
    raw = text.encode()
    blocks = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert list(event_data(blocks)) == ['{"a":\n"\u00e9"}', "plain", "cr"]


def test_an_event_without_end_is_refused() -> None:
    with pytest.raises(errors.NotAMedGANServer):
        list(event_data(b"data: " + b"x" * 65536 + b"\n" for _ in range(MAX_EVENT // 65536 + 2)))


def stream(*documents: Any, then: Callable[[Exchange], None] | None = None, wait: threading.Event | None = None) -> Any:
    """A route that sends events; with `wait`, all but the first when it is set."""

    def route(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Type", "text/event-stream; charset=utf-8")
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        for place, document in enumerate(documents):
            if place and wait:
                wait.wait(10)
            data = f"data: {json.dumps({'medgan': document, 'queue': []})}\n\n".encode()
            exchange.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            exchange.wfile.flush()
        if then:
            then(exchange)
        else:
            exchange.wfile.write(b"0\r\n\r\n")

    return route


def test_every_event_is_told_as_it_comes(server: FakeServer, client: MedGANClient) -> None:
    server.on("GET", PATH, stream(RUNNING, {**RUNNING, "epoch": 2}, PROMOTED))
    told: list[Any] = []
    assert client.train_follow(told.append).state == "promoted"
    assert [status.epoch for status in told] == [1, 2, 3]


def test_nothing_was_ever_trained(server: FakeServer, client: MedGANClient) -> None:
    refused = {"error": {"code": "no_training", "message": "There was no training yet.", "hint": "", "id": "1"}}
    server.reply("GET", PATH, refused, status=404)
    assert client.train_follow().state == "none"


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        (lambda exchange: exchange.answer(404, {"detail": "Not Found"}), errors.ServerTooOld),
        (lambda exchange: exchange.answer(405, {"detail": "Method Not Allowed"}), errors.ServerTooOld),
        (lambda exchange: exchange.answer(200, {"medgan": RUNNING}), errors.NotAMedGANServer),
        (lambda exchange: exchange.answer(200, b"data: 7\n\n", "text/event-stream"), errors.NotAMedGANServer),
        (lambda exchange: exchange.answer(200, b"data: {\n\n", "text/event-stream"), errors.NotAMedGANServer),
        (stream(RUNNING, then=Exchange.drop), errors.Disconnected),
        (stream(), errors.Disconnected),
    ],
    ids=["no route", "another method", "JSON", "no object", "no JSON", "broken off", "empty"],
)
def test_what_is_no_stream_is_told(server: FakeServer, client: MedGANClient, route: Any, kind: type) -> None:
    server.on("GET", PATH, route)
    with pytest.raises(kind):
        client.train_follow()


def test_following_ends_when_it_is_cancelled(server: FakeServer, client: MedGANClient) -> None:
    server.on("GET", PATH, stream(RUNNING, then=Exchange.hang))
    token = CancelToken()
    with pytest.raises(errors.Cancelled):
        client.train_follow(lambda status: token.cancel(), token)


def followed(workflow: Workflow, clinic: Clinic, *documents: Any, **more: Any) -> threading.Event:
    """A workflow that has heard of the first event; the others come when what is returned is set."""
    wait = threading.Event()
    clinic.server.on("GET", PATH, stream(*documents, wait=wait, **more))
    workflow.wait(workflow.connect(clinic.server.url), 10)
    until(workflow, lambda: workflow.state.training.epoch == 1)
    return wait


def test_the_state_follows_without_being_asked_for(workflow: Workflow, clinic: Clinic) -> None:
    wait = followed(workflow, clinic, RUNNING, {**RUNNING, "epoch": 2}, PROMOTED)
    questions = [len(clinic.server.requests("GET", path)) for path in ("/train/", PATH)]
    assert workflow.follow_training() is None, "it is followed already"
    wait.set()
    until(workflow, lambda: workflow.state.training.state == "promoted")
    assert workflow.state.message.text == "Training is over: the new version serves."
    assert [len(clinic.server.requests("GET", path)) for path in ("/train/", PATH)] == questions


def test_workers_are_free_while_a_training_is_followed(workflow: Workflow, clinic: Clinic) -> None:
    wait = followed(workflow, clinic, RUNNING, PROMOTED)
    clinic.server.reply("GET", "/models/hippocampus/versions", {"model": "hippocampus", "versions": []})
    for _ in range(4):
        workflow.wait(workflow.versions("hippocampus"), 10)
    wait.set()


def test_a_stream_that_breaks_is_taken_up_again(workflow: Workflow, clinic: Clinic) -> None:
    wait = followed(workflow, clinic, RUNNING, {**RUNNING, "epoch": 2}, then=Exchange.drop)
    wait.set()
    until(workflow, lambda: workflow.state.message.kind == "error")
    assert workflow.state.training.running, "what was known stays"
    clinic.server.on("GET", PATH, stream(PROMOTED))
    assert workflow.wait(workflow.follow_training(), 10).state == "promoted"

    wait.clear()
    clinic.server.on("GET", PATH, stream(RUNNING, then=Exchange.drop))
    assert workflow.state.message.kind == "success"
    workflow.state.training = workflow.state.training.from_json({"medgan": {**RUNNING, "run": "b"}})
    workflow.follow_training()
    until(workflow, lambda: workflow.state.message.kind == "error")


def test_that_the_server_is_away_again_is_told_again(workflow: Workflow, clinic: Clinic) -> None:
    wait = followed(workflow, clinic, RUNNING, then=Exchange.drop)
    wait.set()
    until(workflow, lambda: workflow.state.message.kind == "error")
    told: list[str] = []
    workflow.changed.connect(lambda state: told.append(state.message.kind))
    workflow._say("info", "Something else.")
    told.clear()
    for route, again in ((Exchange.drop, False), (stream({**RUNNING, "epoch": 2}, then=Exchange.drop), True)):
        for path in (PATH, "/train/"):
            clinic.server.on("GET", path, route)
        job = workflow.follow_training()
        until(workflow, lambda job=job: job.finished)  # type: ignore[misc]
        assert ("error" in told) is again


FULL = {"error": {"code": "busy", "message": "Full.", "hint": "", "id": "1"}}


@pytest.mark.parametrize(
    "route",
    [lambda e: e.answer(503, FULL), lambda e: e.answer(200, {}), stream(), Exchange.drop],
    ids=["too many follow", "a proxy's page", "nothing comes", "broken"],
)
def test_where_streams_do_not_work_it_is_asked(workflow: Workflow, clinic: Clinic, route: Any) -> None:
    clinic.server.on("GET", PATH, route)
    clinic.training = [RUNNING, PROMOTED]
    before = len(clinic.server.requests("GET", PATH))
    workflow.wait(workflow.connect(clinic.server.url), 10)
    until(workflow, lambda: workflow.state.training.running)
    assert workflow.wait_for_training(20).state == "promoted"
    assert len(clinic.server.requests("GET", PATH)) == before + 1, "it is not tried again and again"


def test_what_was_followed_before_a_start_is_not_heard_any_more(workflow: Workflow, clinic: Clinic) -> None:
    wait = followed(workflow, clinic, RUNNING, PROMOTED)
    workflow.wait(workflow.start_training("hippocampus"), 10)
    assert workflow.state.training.state == "starting"
    wait.set()
    clinic.server.on("GET", PATH, stream({**RUNNING, "epoch": 2}, then=Exchange.hang))
    workflow.follow_training()
    until(workflow, lambda: workflow.state.training.epoch == 2)


def test_a_client_that_asks_too_often_does_not_ask_twice(workflow: Workflow, clinic: Clinic) -> None:
    refused = {"error": {"code": "too_many_requests", "message": "Slowly.", "hint": "", "id": "1"}}
    clinic.server.reply("GET", PATH, refused, status=429)
    workflow.wait(workflow.connect(clinic.server.url), 10)
    asked = len(clinic.server.requests("GET", "/train/"))
    with pytest.raises(errors.Busy):
        workflow.wait(workflow.follow_training() or workflow._follow, 10)
    assert len(clinic.server.requests("GET", "/train/")) == asked and workflow._streams


def test_news_from_before_the_end_of_a_run_are_not_heard(workflow: Workflow, clinic: Clinic) -> None:
    wait = followed(workflow, clinic, RUNNING, {**RUNNING, "epoch": 2}, {"state": "training", "run": "b", "epoch": 7})
    workflow._trained(workflow.state.training.from_json({"medgan": {**PROMOTED, "state": "cancelled"}}))
    wait.set()
    until(workflow, lambda: workflow.state.training.run == "b")
    assert workflow.state.message.text.startswith("Training was stopped"), "once"


def test_waiting_ends_in_time_and_says_what_goes_on(workflow: Workflow, clinic: Clinic) -> None:
    followed(workflow, clinic, RUNNING, then=Exchange.hang)
    begun = time.monotonic()
    with pytest.raises(errors.TimedOut, match="Training still runs"):
        workflow.wait_for_training(0.5)
    assert time.monotonic() - begun < 3
    workflow._follow.cancel()


def test_what_a_timer_follows_while_another_server_is_tried_is_let_go(workflow: Workflow, clinic: Clinic) -> None:
    followed(workflow, clinic, RUNNING, then=Exchange.hang)
    gate, info = threading.Event(), clinic.server.routes[("GET", "/info/")]

    def slowly(exchange: Exchange) -> None:
        gate.wait(10)
        info(exchange)

    clinic.server.on("GET", "/info/", slowly)
    connecting = workflow.connect(clinic.server.url)
    until(workflow, lambda: workflow._follow.finished)
    between = workflow.follow_training()
    gate.set()
    workflow.wait(connecting, 10)
    until(workflow, lambda: between.finished)
    assert between.state == "cancelled"
    workflow.close()


def test_another_server_s_training_is_followed_in_its_place(workflow: Workflow, clinic: Clinic) -> None:
    followed(workflow, clinic, RUNNING, PROMOTED)
    clinic.server.on("GET", PATH, stream({**RUNNING, "epoch": 3}, then=Exchange.hang))
    workflow.wait(workflow.connect(clinic.server.url), 10)
    until(workflow, lambda: workflow.state.training.epoch == 3)
    workflow.close()

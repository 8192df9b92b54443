"""Cancelling works in every phase within a second."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from MedGANLib import errors
from MedGANLib.cancel import CancelToken
from MedGANLib.client import MedGANClient
from MedGANLib.records import Sample

from .bad_servers import big_file, deaf_server, raw_server
from .fake_server import INFO, Exchange, FakeServer

SOON = 1.0
"""Seconds within which a cancelled call has to be over."""


def cancelled_after(seconds: float, call: Callable[[CancelToken], object]) -> float:
    """Cancels a call that would go on for long; returns how long after that it ended."""
    token = CancelToken()
    moment: list[float] = []

    def cancel() -> None:
        moment.append(time.monotonic())
        token.cancel()

    timer = threading.Timer(seconds, cancel)
    timer.start()
    with pytest.raises(errors.Cancelled):
        call(token)
    ended = time.monotonic()
    timer.join()
    return ended - moment[0]


def patient(url: str, **more: float) -> MedGANClient:
    return MedGANClient(url, timeout=20, connect_timeout=20, infer_timeout=20, **more)  # type: ignore[arg-type]


def test_cancel_before_anything_happens(client: MedGANClient, server: FakeServer) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(errors.Cancelled):
        client.info(token)
    assert not server.seen


def test_cancel_while_looking_up_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: time.sleep(5))
    assert cancelled_after(0.2, patient("http://slow-names:1").info) < SOON


def test_cancel_while_connecting() -> None:
    with deaf_server() as url:
        assert cancelled_after(0.2, patient(url).info) < SOON


def test_cancel_during_the_handshake() -> None:
    with raw_server(lambda s: time.sleep(5)) as url:
        assert cancelled_after(0.2, patient(url.replace("http:", "https:")).info) < SOON


def test_cancel_while_uploading(server: FakeServer, tmp_path: Path) -> None:
    server.on("PUT", "/datastore/image", Exchange.hang)
    client, file = patient(server.url), big_file(tmp_path)
    assert cancelled_after(0.4, lambda token: client.upload_image(file, "a", cancel=token)) < SOON


def test_cancel_while_waiting_reaches_the_server_too(server: FakeServer, tmp_path: Path) -> None:
    server.on("POST", "/infer/m", Exchange.hang)
    server.reply("DELETE", "/jobs/job-7", {"id": "job-7", "state": "cancelled"})
    client = patient(server.url)
    ran = cancelled_after(0.3, lambda token: client.infer("m", tmp_path, image_id="1", job_id="job-7", cancel=token))
    assert ran < SOON
    end = time.monotonic() + 2
    while not server.requests("DELETE", "/jobs/job-7") and time.monotonic() < end:
        time.sleep(0.01)
    assert server.requests("DELETE", "/jobs/job-7")


def test_cancel_while_downloading(server: FakeServer, tmp_path: Path) -> None:
    def half(exchange: Exchange) -> None:
        exchange.start(200, 1_000_000, "application/octet-stream")
        exchange.wfile.write(bytes(500_000))
        exchange.hang()

    server.on("GET", "/datastore/image", half)
    client = patient(server.url)
    assert cancelled_after(0.3, lambda token: client.download_image(Sample("1", "a.nii.gz"), cancel=token)) < SOON


def test_cancel_of_an_answer_without_a_length_is_no_success() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"models": {}}')
        time.sleep(3)

    with raw_server(talk) as url:
        assert cancelled_after(0.3, patient(url).info) < SOON


def test_a_failed_call_leaves_the_client_usable(server: FakeServer, client: MedGANClient) -> None:
    server.on("GET", "/info/", Exchange.drop)
    with pytest.raises(errors.Disconnected):
        client.info()
    server.reply("GET", "/info/", INFO)
    assert client.info().name == "MedGAN"


def test_guards_leave_no_timers_behind(client: MedGANClient) -> None:
    before = threading.active_count()
    for _ in range(5):
        client.info()
    time.sleep(0.1)
    assert threading.active_count() <= before + 1

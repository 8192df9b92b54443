"""Everything that can go wrong between client and server, over real sockets."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from MedGANLib import errors
from MedGANLib.client import MedGANClient
from MedGANLib.records import Sample

from .bad_servers import big_file, deaf_server, raw_server
from .certificates import self_signed
from .fake_server import BOUNDARY, INFO, Exchange, FakeServer, multipart, running

MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def code_of(url: str, **more: object) -> str:
    options = {"timeout": 5.0, "connect_timeout": 5.0, **more}
    return MedGANClient(url, **options).check_connection().code  # type: ignore[arg-type]


def test_localhost_finds_a_server_that_listens_on_one_address(server: FakeServer) -> None:
    assert code_of(server.url.replace("127.0.0.1", "localhost")) == "ok"


# Each failure of the connection has its own code and words


def test_refused() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    report = MedGANClient(f"127.0.0.1:{port}").check_connection()
    assert report.code == "connection_refused" and str(port) in report.message and report.hint


def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert code_of("http://no-such-computer:8000") == "host_not_found"


def test_unreachable_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, place: errno.ENETUNREACH)
    assert code_of("http://127.0.0.1:8000") == "host_not_found"


def test_slow_name_service_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: time.sleep(3))
    begun = time.monotonic()
    assert code_of("http://slow-names:8000", connect_timeout=0.5) == "host_not_found"
    assert time.monotonic() - begun < 2


def test_deaf_host_times_out() -> None:
    with deaf_server() as url:
        report = MedGANClient(url, connect_timeout=0.4).check_connection()
    assert report.code == "timed_out" and "does not answer" in report.message


def test_not_http() -> None:
    with raw_server(lambda s: s.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        assert code_of(url) == "not_http"


def test_web_page_instead_of_a_server(server: FakeServer) -> None:
    server.reply("GET", "/info/", b"<html>It works!</html>", kind="text/html")
    assert code_of(server.url) == "not_a_medgan_server"


@pytest.mark.parametrize("answer", [{"models": None}, {"hello": 1}, [1, 2], "text", {"models": {"m": 1}}])
def test_other_json_service(server: FakeServer, answer: object) -> None:
    server.reply("GET", "/info/", answer)
    assert code_of(server.url) == "not_a_medgan_server"


def test_server_without_the_route(server: FakeServer) -> None:
    del server.routes[("GET", "/info/")]
    assert code_of(server.url) == "not_a_medgan_server"


def test_token_required(server: FakeServer) -> None:
    error = {"error": {"code": "token_required", "message": "A token is needed.", "hint": "Ask.", "id": "ab"}}
    server.reply("GET", "/info/", error, status=401)
    assert code_of(server.url) == "token_required"
    assert code_of(server.url, token="wrong") == "token_required"


@pytest.mark.parametrize("token", ["two words", "naïve", "line\r\nInjected: yes"])
def test_impossible_tokens_are_refused_before_anything_is_sent(token: str) -> None:
    with pytest.raises(errors.TokenRequired):
        MedGANClient("http://127.0.0.1:1", token=token)


def test_server_too_old(server: FakeServer) -> None:
    server.reply("GET", "/info/", {**INFO, "medgan": {"version": "0.0.9"}})
    assert code_of(server.url) == "server_too_old"


def test_plain_http_behind_https(server: FakeServer) -> None:
    report = MedGANClient(server.url.replace("http:", "https:"), timeout=5).check_connection()
    assert report.code == "tls_failed" and "http://" in report.hint


@pytest.fixture
def secure_server(tmp_path: Path) -> Iterator[tuple[FakeServer, Path]]:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    fake = FakeServer()
    fake.reply("GET", "/info/", INFO)
    fake.socket = context.wrap_socket(fake.socket, server_side=True)
    with running(fake):
        yield fake, certificate


def test_certificates_are_verified(secure_server: tuple[FakeServer, Path]) -> None:
    fake, certificate = secure_server
    url = fake.url.replace("http:", "https:")
    report = MedGANClient(url).check_connection()
    assert report.code == "tls_failed" and "not trusted" in report.message
    assert code_of(url, ca_file=certificate) == "ok"


def test_certificate_of_another_host(secure_server: tuple[FakeServer, Path]) -> None:
    fake, certificate = secure_server
    assert code_of(f"https://localhost:{fake.server_address[1]}", ca_file=certificate) == "tls_failed"


def test_unreadable_certificate_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(errors.TLSFailed, match="certificate file"):
        MedGANClient("https://127.0.0.1:1", ca_file=tmp_path / "ca.pem")


def test_redirects_are_not_followed(server: FakeServer, client: MedGANClient) -> None:
    server.reply("GET", "/info/", b"", status=307, Location="http://elsewhere.example/info/")
    with pytest.raises(errors.NotAMedGANServer, match=r"elsewhere\.example"):
        client.info()
    assert len(server.seen) == 1


# Each refusal is one typed exception


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_option", errors.BadRequest),
        (401, "token_required", errors.TokenRequired),
        (404, "unknown_model", errors.NotFound),
        (409, "busy", errors.Busy),
        (503, "busy", errors.Busy),
        (429, "too_many_requests", errors.Busy),
        (403, "admin_required", errors.TokenRequired),
        (503, "storage_not_available", errors.ServerFailure),
        (503, "login_not_available", errors.ServerFailure),
        (507, "disk_full", errors.ServerFailure),
        (409, "conflict", errors.Conflict),
        (409, "cancelled", errors.Cancelled),
        (413, "too_large", errors.TooLarge),
        (415, "not_an_image", errors.NotAnImage),
        (422, "needs_region", errors.CannotProcess),
        (500, "internal", errors.ServerFailure),
        (503, "model_not_available", errors.ModelNotAvailable),
    ],
)
def test_refusals_by_contract(
    server: FakeServer, client: MedGANClient, status: int, code: str, kind: type[errors.MedGANError]
) -> None:
    contract = {"error": {"code": code, "message": "What happened.", "hint": "What to do.", "id": "b1f0"}}
    server.reply("GET", "/health", contract, status=status)
    with pytest.raises(errors.MedGANError) as caught:
        client.health()
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.id, caught.value.status) == (code, "b1f0", status)
    assert caught.value.text() == "What happened. What to do. (reference b1f0)"


@pytest.mark.parametrize(
    ("status", "content", "kind", "words"),
    [
        (500, b"Internal Server Error", errors.ServerFailure, "server failed"),
        (500, b'{"detail": "Failed to execute infer"}', errors.ServerFailure, "Failed to execute infer"),
        (502, b"<html>Bad Gateway</html>", errors.ServerFailure, "server failed"),
        (429, b"<html>Too Many Requests</html>", errors.Busy, "too much to do"),
        (404, b'{"detail": "Image NOT Found"}', errors.NotFound, "Image NOT Found"),
        (422, b'{"detail": [{"loc": ["query"]}]}', errors.CannotProcess, "cannot process"),
        (400, b'["odd"]', errors.BadRequest, "could not read"),
    ],
)
def test_refusals_without_our_contract(
    server: FakeServer, client: MedGANClient, status: int, content: bytes, kind: type[errors.MedGANError], words: str
) -> None:
    server.reply("GET", "/health", content, status=status)
    with pytest.raises(kind, match=words) as caught:
        client.health()
    assert caught.value.hint


# Hangs, drips and broken connections


def test_hang_before_the_headers(server: FakeServer, hasty: MedGANClient) -> None:
    server.on("GET", "/info/", Exchange.hang)
    with pytest.raises(errors.TimedOut):
        hasty.info()


def test_hang_in_the_body(server: FakeServer, hasty: MedGANClient) -> None:
    def half(exchange: Exchange) -> None:
        exchange.start(200, 1000)
        exchange.wfile.write(b'{"models"')
        exchange.hang()

    server.on("GET", "/info/", half)
    with pytest.raises(errors.TimedOut):
        hasty.info()


def drip(exchange: Exchange) -> None:
    exchange.start(200, 1000)
    while not exchange.server.over.wait(0.1):
        exchange.wfile.write(b" ")


def drip_headers(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not exchange.server.over.wait(0.1):
        exchange.wfile.write(b"X-Slow: 1\r\n")


@pytest.mark.parametrize("how", [drip, drip_headers])
def test_an_answer_that_only_drips_has_a_deadline(
    server: FakeServer, hasty: MedGANClient, how: Callable[[Exchange], None]
) -> None:
    server.on("GET", "/info/", how)
    begun = time.monotonic()
    with pytest.raises(errors.TimedOut):
        hasty.info()
    assert time.monotonic() - begun < 3


def test_slow_but_steady_results_arrive(server: FakeServer, hasty: MedGANClient, tmp_path: Path) -> None:
    """A run may last longer than the time-out of an ordinary call as long as data flows."""
    content = multipart({}, b"label" * 4)

    def slowly(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.start(200, len(content), MULTIPART)
        for index in range(0, len(content), 16):
            exchange.wfile.write(content[index : index + 16])
            time.sleep(0.06)

    server.on("POST", "/infer/m", slowly)
    begun = time.monotonic()
    assert hasty.infer("m", tmp_path, image_id="1").parts[0].path.read_bytes() == b"label" * 4
    assert time.monotonic() - begun > 0.6, "longer than an ordinary call may last"


def test_disconnect_before_the_answer(server: FakeServer, client: MedGANClient) -> None:
    server.on("GET", "/info/", Exchange.drop)
    with pytest.raises(errors.Disconnected):
        client.info()


def cut_short(content: bytes, keep: int) -> Callable[[Exchange], None]:
    def route(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.start(200, len(content), MULTIPART)
        exchange.wfile.write(content[:keep])
        exchange.drop()

    return route


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_disconnect_half_way_through_a_result(
    server: FakeServer, client: MedGANClient, tmp_path: Path, share: float
) -> None:
    content = multipart({}, b"label" * 100_000)
    server.on("POST", "/infer/m", cut_short(content, int(share * len(content))))
    with pytest.raises(errors.Disconnected):
        client.infer("m", tmp_path, image_id="1")
    assert not list(tmp_path.glob("*")), "nothing incomplete stays behind"


def test_disconnect_half_way_through_a_study(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.on("GET", "/datastore/image", cut_short(bytes(500_000), 250_000))
    with pytest.raises(errors.Disconnected):
        client.download_image(Sample("1", "a.nii.gz"))
    assert not list((tmp_path / "studies").iterdir())


def test_multipart_without_its_end(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.reply("POST", "/infer/m", multipart({}, b"label")[:-12], kind=MULTIPART)
    with pytest.raises(errors.Disconnected):
        client.infer("m", tmp_path, image_id="1")


def test_chunked_answer_that_breaks_off() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"models": {')

    with raw_server(talk) as url, pytest.raises(errors.Disconnected):
        MedGANClient(url, timeout=1).info()


def test_refusal_during_the_upload_is_heard(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    def refuse(exchange: Exchange) -> None:
        contract = {"error": {"code": "too_large", "message": "Over 64 MB.", "hint": "Crop it.", "id": "1"}}
        exchange.answer(413, contract)
        exchange.hang()

    server.on("PUT", "/datastore/image", refuse)
    with pytest.raises(errors.TooLarge, match="Over 64 MB"):
        client.upload_image(big_file(tmp_path), "a")


def test_disconnect_during_the_upload(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.on("PUT", "/datastore/image", Exchange.drop)
    with pytest.raises(errors.Disconnected):
        client.upload_image(big_file(tmp_path), "a")


def test_an_endless_answer_is_given_up(
    server: FakeServer, client: MedGANClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MedGANLib.transport.Reply.content.__defaults__", (10_000,))
    server.reply("GET", "/info/", b" " * 50_000)
    with pytest.raises(errors.NotAMedGANServer, match="too long"):
        client.info()


def test_full_disk_is_not_called_a_lost_connection(
    server: FakeServer, client: MedGANClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("MedGANLib.transport.os.fsync", full)
    server.reply("GET", "/datastore/image", b"voxels", kind="application/octet-stream")
    with pytest.raises(errors.StorageProblem, match="No space left"):
        client.download_image(Sample("1", "a.nii.gz"))

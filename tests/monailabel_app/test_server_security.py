"""Who may call, and how much may be sent. The middleware alone, around an application that counts its calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, File, UploadFile
from fastapi.testclient import TestClient
from server_world import error

from monailabel_app import errors
from monailabel_app.config import ServerConfig
from monailabel_app.limits import FAILURES, MOST_CLIENTS, BodyLimit, Buckets, RateLimits
from monailabel_app.login import Login
from monailabel_app.security import Guard
from monailabel_app.server import create_app

TOKEN = "a-long-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def application(token: str = "", loopback: bool = True, origins: tuple[str, ...] = (), rate: float = 0.0) -> FastAPI:
    api = FastAPI()
    errors.install(api)
    api.state.calls = 0

    @api.get("/health")
    @api.get("/info/")
    def count() -> dict[str, int]:
        api.state.calls += 1
        return {"calls": api.state.calls}

    @api.post("/upload")
    def upload(file: UploadFile = File()) -> dict[str, int]:
        return {"bytes": len(file.file.read())}

    @api.post("/json")
    def told(body: dict[str, str]) -> dict[str, int]:
        return {"characters": len(body["text"])}

    @api.get("/metrics")
    def figures() -> dict[str, int]:
        return {}

    @api.get("/fails")
    def fails() -> None:
        raise ZeroDivisionError("secret detail")

    api.add_middleware(BodyLimit, megabytes=1, routes=api.routes)
    api.add_middleware(Guard, login=Login(token), loopback=loopback, origins=origins, rate=rate)
    return api


@pytest.fixture
def client() -> TestClient:
    return TestClient(application(), base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:9", "[::1]:8000"])
def test_names_of_this_computer_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/info/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_dns_rebinding_is_defeated(client: TestClient, host: str) -> None:
    assert error(client.get("/info/", headers={"host": host})) == (400, "bad_request")


def test_other_names_are_fine_on_a_network_address() -> None:
    api = application(TOKEN, loopback=False)
    headers = {"host": "server.hospital", "authorization": f"Bearer {TOKEN}"}
    assert TestClient(api).get("/info/", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_pages_of_other_sites_cannot_act_through_a_browser(client: TestClient, origin: str) -> None:
    answer = client.get("/info/", headers={"origin": origin})
    assert error(answer) == (400, "bad_request")
    assert "access-control-allow-origin" not in answer.headers


def test_preflight_is_answered_for_allowed_origins_alone(tmp_path: Path) -> None:
    config = ServerConfig(tmp_path, tmp_path / "data", token=TOKEN, cors=("https://viewer.example",))
    client = TestClient(create_app(config), base_url="http://127.0.0.1")
    for origin, allowed in (("https://viewer.example", True), ("https://evil.example", False)):
        headers = {"origin": origin, "access-control-request-method": "PUT"}
        answer = client.options("/datastore/label", headers=headers)
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed


def test_no_route_is_open_without_the_token_but_those_that_must(tmp_path: Path) -> None:
    api = create_app(ServerConfig(tmp_path, tmp_path / "data", token=TOKEN, rate_limit=0))
    client = TestClient(api, base_url="http://127.0.0.1", raise_server_exceptions=False)
    paths = {
        (method, path)
        for path, row in client.get("/openapi.json", headers=BEARER).json()["paths"].items()
        for method in row
    }
    assert len(paths) > 30
    free = {path for method, path in paths if client.request(method, path).status_code != 401}
    assert free <= {"/health", "/ready", "/auth/", "/auth/token"}
    assert client.get("/openapi.json").status_code == 401


def test_own_and_allowed_origins() -> None:
    client = TestClient(application(origins=("https://viewer.example",)), base_url="http://127.0.0.1:8000")
    for origin in ("http://127.0.0.1:8000", "https://viewer.example"):
        assert client.get("/info/", headers={"origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", TOKEN, f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x", "Bearer ÿ"]
)
def test_token_is_needed(given: str | None) -> None:
    api = application(TOKEN)
    headers = [(b"authorization", given.encode("latin-1"))] if given else []
    answer = TestClient(api, base_url="http://127.0.0.1").get("/info/", headers=headers)
    assert error(answer) == (401, "token_required")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert api.state.calls == 0


def test_token_opens_and_health_needs_none() -> None:
    client = TestClient(application(TOKEN), base_url="http://127.0.0.1")
    assert client.get("/health").status_code == 200
    assert client.get("/info/", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200


def test_every_answer_has_the_security_headers(tmp_path: Path) -> None:
    api = create_app(ServerConfig(tmp_path, tmp_path / "data"))
    client = TestClient(api, base_url="http://127.0.0.1", raise_server_exceptions=False)
    assert client.get("/info/").status_code == 500, "the server was not opened"
    for path in ("/health", "/info/", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_declared_size_over_the_limit(client: TestClient) -> None:
    assert error(client.post("/upload", files={"file": b"x" * (3 << 20)})) == (413, "too_large")


def test_undeclared_size_over_the_limit(client: TestClient) -> None:
    boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield boundary
        for _ in range(64):
            yield b"x" * (1 << 16)
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert error(client.post("/upload", content=body(), headers=headers)) == (413, "too_large")


def test_size_within_the_limit(client: TestClient) -> None:
    assert client.post("/upload", files={"file": b"x" * (1 << 20)}).json() == {"bytes": 1 << 20}
    assert client.post("/json", json={"text": "x" * 1_000_000}).json() == {"characters": 1_000_000}


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_read_into_memory_is_small_though_files_may_be_large(client: TestClient, declared: bool) -> None:
    text = json.dumps({"text": "x" * (3 << 19)}).encode()
    assert len(text) < 2 << 20, "a file of that size is taken"
    body = text if declared else iter([text[: 1 << 19], text[1 << 19 :]])
    answer = client.post("/json", content=body, headers={"content-type": "application/json"})
    assert error(answer) == (413, "too_large")
    assert "parts of a form" in answer.json()["error"]["hint"]


def test_a_text_does_not_become_a_file_by_its_header(client: TestClient) -> None:
    text = json.dumps({"text": "x" * (3 << 19)}).encode()
    answer = client.post("/json", content=text, headers={"content-type": "multipart/form-data; boundary=x"})
    assert error(answer) == (413, "too_large")


def test_an_unforeseen_failure_tells_nothing_but_an_id(client: TestClient) -> None:
    answer = client.get("/fails")
    assert error(answer) == (500, "server_error")
    assert "secret detail" not in answer.text


def test_unknown_route_and_method(client: TestClient) -> None:
    assert error(client.get("/nothing")) == (404, "not_found")
    assert error(client.post("/info/")) == (405, "bad_request")


# How often


def limited(token: str = "") -> TestClient:
    return TestClient(application(token, rate=2), base_url="http://127.0.0.1")


def test_a_client_that_asks_too_often_is_told_when_to_come_back() -> None:
    client = limited()
    answers = [client.get("/info/") for _ in range(21)]
    assert [a.status_code for a in answers[:20]] == [200] * 20, "ten seconds' worth may come at once"
    assert error(answers[20]) == (429, "too_many_requests")
    assert answers[20].headers["retry-after"] == "1"
    assert "error" in answers[20].json()


def test_probes_are_not_limited() -> None:
    client = limited()
    assert {client.get(path).status_code for path in ("/health", "/metrics") for _ in range(50)} == {200}


@pytest.mark.parametrize("path", ["/info/", "/metrics"])
def test_tokens_cannot_be_tried_out_one_after_the_other(path: str) -> None:
    client = limited(TOKEN)
    wrong = {"authorization": "Bearer wrong"}
    answers = [client.get(path, headers=wrong).status_code for _ in range(int(FAILURES) + 1)]
    assert answers == [401] * int(FAILURES) + [429]
    assert error(client.get("/info/", headers=BEARER)) == (429, "too_many_requests"), "also if the next one is right"
    assert client.get("/health").status_code == 200


def test_buckets_fill_again_and_clients_do_not_share_them() -> None:
    now = [0.0]
    limits = RateLimits(1, lambda: now[0])
    for _ in range(10):
        limits.take("a")
    with pytest.raises(errors.MedGANError) as caught:
        limits.take("a")
    assert caught.value.headers == {"Retry-After": "1"}
    limits.take("b")
    now[0] += 1
    limits.take("a")


def test_many_clients_take_little_memory() -> None:
    buckets = Buckets(1, 1, lambda: 0.0)
    for number in range(MOST_CLIENTS + 100):
        buckets.take(str(number))
    assert len(buckets._levels) == MOST_CLIENTS
    assert buckets.wait(str(MOST_CLIENTS)) > 0 and buckets.wait("0") == 0


def test_no_limit_by_zero() -> None:
    client = TestClient(application(TOKEN), base_url="http://127.0.0.1")
    assert {client.get("/info/").status_code for _ in range(60)} == {401}

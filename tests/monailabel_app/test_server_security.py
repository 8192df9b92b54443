"""Who may call, and how much may be sent. The middleware alone, around an application that counts its calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, File, UploadFile
from fastapi.testclient import TestClient
from server_world import error

from monailabel_app import errors
from monailabel_app.config import ServerConfig
from monailabel_app.limits import BodyLimit
from monailabel_app.security import Guard
from monailabel_app.server import create_app

TOKEN = "a-long-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def application(token: str = "", loopback: bool = True, origins: tuple[str, ...] = ()) -> FastAPI:
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

    @api.get("/fails")
    def fails() -> None:
        raise ZeroDivisionError("secret detail")

    api.add_middleware(BodyLimit, megabytes=1)
    api.add_middleware(Guard, token=token, loopback=loopback, origins=origins)
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
    api = create_app(ServerConfig(tmp_path, tmp_path / "data", token=TOKEN))
    client = TestClient(api, base_url="http://127.0.0.1", raise_server_exceptions=False)
    paths = {
        (method, path)
        for path, row in client.get("/openapi.json", headers=BEARER).json()["paths"].items()
        for method in row
    }
    assert len(paths) > 30
    free = {path for method, path in paths if client.request(method, path).status_code != 401}
    assert free <= {"/health", "/auth/", "/auth/token"}
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


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for path in ("/info/", "/nothing"):
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


def test_an_unforeseen_failure_tells_nothing_but_an_id(client: TestClient) -> None:
    answer = client.get("/fails")
    assert error(answer) == (500, "server_error")
    assert "secret detail" not in answer.text


def test_unknown_route_and_method(client: TestClient) -> None:
    assert error(client.get("/nothing")) == (404, "not_found")
    assert error(client.post("/info/")) == (405, "bad_request")

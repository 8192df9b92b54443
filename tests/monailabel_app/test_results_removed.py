"""Files of results: each goes with its request, however that ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from server_world import PICTURES, client_of, error, infer, make_synthesis

from monailabel_app.config import ServerConfig
from monailabel_app.infers.base import ModelInfer
from monailabel_app.routes.sending import SentFile


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ServerConfig:
    folder = tmp_path_factory.mktemp("site")
    (folder / "studies").mkdir()
    return ServerConfig(folder / "studies", folder / "data", models=make_synthesis(folder / "models"))


@pytest.fixture(scope="module")
def client(config: ServerConfig) -> TestClient:
    return client_of(config)


def send(answer: SentFile, *heard: dict[str, Any]) -> bytes:
    """What a client gets from whom the server hears that, and then nothing."""
    messages, sent = list(heard), []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def told(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    asyncio.run(answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, told))
    return b"".join(sent)


@pytest.mark.parametrize("output", ["all", "image", "json"])
def test_a_result_goes_when_it_is_sent(client: TestClient, config: ServerConfig, output: str) -> None:
    assert infer(client, PICTURES, {"output": output}).status_code == 200
    assert list(config.temporary.iterdir()) == []


@pytest.mark.parametrize("output", ["all", "image", "json"])
def test_a_job_that_is_cancelled_while_its_result_is_written_leaves_no_file(
    client: TestClient, config: ServerConfig, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    written, run = [], ModelInfer.__call__

    def late(task: ModelInfer, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        found = run(task, request)
        written.append(Path(found[0]).is_file())
        request["monitor"].cancel()
        return found

    monkeypatch.setattr(ModelInfer, "__call__", late)
    assert error(infer(client, PICTURES, {"output": output})) == (409, "cancelled")
    assert written == [True] and list(config.temporary.iterdir()) == []


def test_what_is_sent_is_the_file_between_its_frame(tmp_path: Path) -> None:
    content, path = bytes(range(256)) * 8000, tmp_path / "result"
    path.write_bytes(content)
    answer = SentFile(path, "text/plain", {"X-Other": "kept"}, b"head", b"end")
    assert answer.headers["content-length"] == str(len(content) + 7) and answer.headers["x-other"] == "kept"
    assert send(answer) == b"head" + content + b"end"
    assert not path.exists()


def test_a_client_that_has_gone_before_the_first_block_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"voxels")
    assert b"voxels" not in send(SentFile(path, "text/plain"), {"type": "http.disconnect"})
    assert not path.exists()

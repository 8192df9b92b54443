"""Answers out of a file of ours, which goes when it is sent and when nobody waits for it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anyio.from_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

BLOCK = 1 << 20


class SentFile(StreamingResponse):
    """A file from the disk to the network, block by block.

    It is removed here and not by what reads it: for a client that has hung up before the first block nothing is read.

    Args:
        path: the file.
        media_type: of the answer.
        headers: beside its length.
        head, end: bytes before and after the file's.
    """

    def __init__(
        self, path: Path, media_type: str, headers: Mapping[str, str] | None = None, head: bytes = b"", end: bytes = b""
    ) -> None:
        length = {"Content-Length": str(len(head) + path.stat().st_size + len(end))}
        super().__init__(_blocks(path, head, end), media_type=media_type, headers={**(headers or {}), **length})
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._path.unlink(missing_ok=True)


def hung_up(request: Request) -> Callable[[], bool]:
    """What tells, in a thread of the server, whether nobody waits for the answer any more."""
    return lambda: anyio.from_thread.run(request.is_disconnected)


def _blocks(path: Path, head: bytes, end: bytes) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield head
        while block := stream.read(BLOCK):
            yield block
        yield end

"""Answers out of files: of ours, which go when they are sent, and of studies, which others may remove meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anyio.from_thread
from fastapi import Request
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from monailabel_app.routes.params import BYTES

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


class OpenFile(FileResponse):
    """A file as a download, opened now: it is sent whole even if it is removed before that is done.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened, or is not there any more.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        stat = os.fstat(self._file.fileno())
        super().__init__(path, media_type=BYTES, filename=path.name, stat_result=stat)
        handle = Path(f"/proc/self/fd/{self._file.fileno()}")  # opens what is open, whatever became of its name
        self.path = handle if handle.exists() else path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        with self._file:
            await super().__call__(scope, receive, send)


def hung_up(request: Request) -> Callable[[], bool]:
    """What tells, in a thread of the server, whether nobody waits for the answer any more."""
    return lambda: anyio.from_thread.run(request.is_disconnected)


def _blocks(path: Path, head: bytes, end: bytes) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield head
        while block := stream.read(BLOCK):
            yield block
        yield end

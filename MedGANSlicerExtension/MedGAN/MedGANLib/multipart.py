"""Request bodies that are streamed from files, and multipart answers that are streamed to files (RFC 7578)."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Tuple

from .errors import Disconnected

BLOCK = 256 * 1024
"""Bytes sent or received at a time."""
MAX_HEAD = 64 * 1024
"""Bytes that the headers of one part may have."""


def suffix_of(name: str) -> str:
    """Return a file name's extension, both of `.nii.gz`; empty when it has none or a strange one."""
    found = re.search(r"(\.nii\.gz|\.seg\.nrrd|\.[A-Za-z0-9]{1,8})$", name)
    return found.group(1).lower() if found else ""


class JsonBody:
    """A JSON document as a request's body."""

    content_type = "application/json"

    def __init__(self, document: Any) -> None:
        self._bytes = json.dumps(document).encode("utf-8")
        self.length = len(self._bytes)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body."""
        yield self._bytes


class MultipartBody:
    """Text fields and files as a request's body.

    Files are sent as `<field><extension>`: their names on this computer are nobody's business.
    """

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, Path]) -> None:
        boundary = f"medgan-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._text = b"".join(_field(boundary, name, text) for name, text in fields.items())
        self._files: List[Tuple[bytes, Path]] = [(_file_head(boundary, n, p), Path(p)) for n, p in files.items()]
        self._end = f"--{boundary}--\r\n".encode()
        sizes = sum(len(head) + path.stat().st_size + 2 for head, path in self._files)
        self.length = len(self._text) + sizes + len(self._end)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body, block by block."""
        yield self._text
        for head, path in self._files:
            yield head
            yield from read_blocks(path)
            yield b"\r\n"
        yield self._end


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield a file's content, block by block."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _field(boundary: str, name: str, text: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()


def _file_head(boundary: str, name: str, path: Path) -> bytes:
    disposition = f'form-data; name="{name}"; filename="{name}{suffix_of(path.name)}"'
    return (
        f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    ).encode()


@dataclass
class Part:
    """One part of a multipart answer; `blocks` must be read before the next part is asked for."""

    name: str
    filename: str
    blocks: Iterator[bytes]


class MultipartReader:
    """Splits a multipart stream into its parts while it arrives."""

    def __init__(self, read: Callable[[], bytes], boundary: str) -> None:
        """Read from `read()`, which returns the next block, or nothing at the end."""
        self._read = read
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = b"\r\n"

    def parts(self) -> Iterator[Part]:
        """Yield the parts in order.

        Raises:
            Disconnected: The stream ends before its closing delimiter.
        """
        self._skip(self._until(self._delimiter))
        while not self._closing():
            head = b"".join(self._until(b"\r\n\r\n", MAX_HEAD)).decode("utf-8", "replace")
            blocks = self._until(self._delimiter)
            yield Part(_parameter(head, "name"), _parameter(head, "filename"), blocks)
            self._skip(blocks)

    def _closing(self) -> bool:
        """Whether the delimiter just read was the last; takes the rest of its line otherwise."""
        while len(self._buffer) < 2:
            self._fill()
        return self._buffer.startswith(b"--")

    def _until(self, mark: bytes, limit: int = 0) -> Iterator[bytes]:
        """Yield what comes before `mark`, and take `mark` out of the stream."""
        seen = 0
        while (place := self._buffer.find(mark)) < 0:
            ready = len(self._buffer) - len(mark) + 1
            if ready > 0:
                seen += ready
                block, self._buffer = self._buffer[:ready], self._buffer[ready:]
                yield block
            if limit and seen > limit:
                raise Disconnected("The server's answer is damaged.", "Try again.")
            self._fill()
        block, self._buffer = self._buffer[:place], self._buffer[place + len(mark) :]
        yield block

    def _fill(self) -> None:
        block = self._read()
        if not block:
            raise Disconnected("The server's answer broke off.", "Try again.")
        self._buffer += block

    @staticmethod
    def _skip(blocks: Iterator[bytes]) -> None:
        for _ in blocks:
            pass


def boundary_of(content_type: str) -> str:
    """Return the boundary named in a `Content-Type`, or an empty text."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    return found.group(1) if found else ""


def _parameter(head: str, name: str) -> str:
    found = re.search(rf'[;\s]{name}="([^"]*)"', head)
    return found.group(1) if found else ""

"""HTTP exchanges with the server: streamed both ways, cancellable in every phase, failures as typed errors."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import select
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Protocol
from urllib.parse import quote, urlencode

from .address import Address
from .cancel import CancelToken
from .connection import Guard, late, open_socket, translate
from .errors import Disconnected, MedGANError, NotAMedGANServer, TLSFailed, TokenRequired
from .multipart import BLOCK
from .refusals import refusal

Progress = Callable[[float, str], None]
"""Called with the fraction done in 0…1 (-1 when unknown) and a phrase such as "Sending the volume"."""
MAX_JSON = 64 * 1024 * 1024
"""Bytes that a JSON answer may have; more is not from a server of ours."""


class Body(Protocol):
    """What a request carries."""

    content_type: str
    length: int

    def blocks(self) -> Iterator[bytes]:
        """Yield the body, block by block."""


@dataclass
class Request:
    """One request.

    Attributes:
        timeout: Seconds that a single read or write may take.
        deadline: Seconds for the whole exchange; None when it may last as long as data flows.
        on_sent: Called with the fraction of the body that has been sent.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Optional[Body] = None
    timeout: float = 30.0
    deadline: Optional[float] = None
    cancel: Optional[CancelToken] = None
    on_sent: Callable[[float], None] = lambda fraction: None

    def target(self, prefix: str) -> str:
        """Return the path and query as they go over the wire."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return prefix + quote(self.path, safe="/%") + query


class Reply:
    """An answer whose body is still to be read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self.location = response.headers.get("Location", "")
        self.filename = str(response.headers.get_filename() or "")
        length = response.headers.get("Content-Length", "")
        self._chunked = bool(response.chunked)
        self.length = int(length) if length.isdigit() and not self._chunked else None
        self.received = 0

    def read(self) -> bytes:
        """Return the next block, or nothing at the end.

        Raises:
            Disconnected: The body is shorter than the server had announced.
        """
        if self.length is not None and self.received >= self.length:
            return b""
        block = self._response.read1(BLOCK)
        self.received += len(block)
        if not block and self.length is not None:
            raise Disconnected("The server's answer broke off.", "Try again.")
        return block

    def blocks(self, progress: Callable[[float], None] = lambda fraction: None) -> Iterator[bytes]:
        """Yield the body, telling the fraction received (-1 when the length is unknown)."""
        while block := self.read():
            progress(self.received / self.length if self.length else -1.0)
            yield block

    def content(self, limit: int = MAX_JSON) -> bytes:
        """Return the whole body; raises `NotAMedGANServer` when it is longer than `limit` bytes."""
        content = bytearray()
        for block in self.blocks():
            content += block
            if len(content) > limit:
                raise NotAMedGANServer("The answer is far too long for a MedGAN server.", "Check the address.")
        return bytes(content)

    def json(self) -> Any:
        """Return the body as JSON; raises `NotAMedGANServer` when it is something else."""
        try:
            return json.loads(self.content())
        except ValueError as error:
            raise NotAMedGANServer(
                "Something answered, but not a MedGAN server.", "Check the address and the port."
            ) from error


class Transport:
    """Makes exchanges with one server; keeps no connection open between them."""

    def __init__(
        self, address: Address, token: Optional[str], connect_timeout: float, ca_file: Optional[str] = None
    ) -> None:
        self.address = address
        self._connect_timeout = connect_timeout
        self._context = _tls_context(ca_file) if address.secure else None
        self._headers = {"Accept": "*/*", "User-Agent": "MedGAN-Slicer"}
        if token:
            self._headers["Authorization"] = f"Bearer {_checked_token(token)}"

    @contextlib.contextmanager
    def exchange(self, request: Request) -> Iterator[Reply]:
        """Send a request and give its answer, if it is a success; the connection ends with the block.

        Raises:
            MedGANError: One of its kinds, for every way in which this can fail.
        """
        guard = Guard(request.cancel, request.deadline)
        connection = http.client.HTTPConnection(self.address.host, self.address.port)
        try:
            guard.check()
            connection.sock = open_socket(self.address, self._connect_timeout, self._context, guard)
            reply = self._send(connection, request, guard)
            if not 200 <= reply.status < 300:
                raise refusal(reply.status, _error_content(reply), reply.location)
            yield reply
            guard.check()
        except (OSError, http.client.HTTPException) as error:
            guard.check()
            raise self._translate(error) from error
        except MedGANError:
            guard.check()
            raise
        finally:
            guard.release()
            connection.close()

    def json(self, request: Request) -> Any:
        """Send a request and return its JSON answer; it has to be complete within the deadline."""
        with self.exchange(request) as reply:
            return reply.json()

    def _send(self, connection: http.client.HTTPConnection, request: Request, guard: Guard) -> Reply:
        connection.sock.settimeout(request.timeout)
        connection.putrequest(request.method, request.target(self.address.prefix), skip_accept_encoding=True)
        for name, value in self._headers_of(request).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = self._send_body(connection, request) if request.body else None
        guard.check()
        return Reply(response or connection.getresponse())

    def _headers_of(self, request: Request) -> Dict[str, str]:
        if request.body is None:
            return {**self._headers, **({} if request.method in ("GET", "HEAD") else {"Content-Length": "0"})}
        return {
            **self._headers,
            "Content-Type": request.body.content_type,
            "Content-Length": str(request.body.length),
        }

    def _send_body(
        self, connection: http.client.HTTPConnection, request: Request
    ) -> Optional[http.client.HTTPResponse]:
        """Send the body; stop when the server answers early (a file over its limit) and return that answer."""
        assert request.body is not None
        sent = 0
        try:
            for block in request.body.blocks():
                if not self._send_block(connection, block, request.timeout):
                    return connection.getresponse()
                sent += len(block)
                request.on_sent(sent / max(1, request.body.length))
        except (BrokenPipeError, ConnectionResetError):
            return connection.getresponse()
        return None

    def _send_block(self, connection: http.client.HTTPConnection, block: bytes, timeout: float) -> bool:
        """Send a block; return False when the server answers meanwhile (TLS hides that: there it is not looked for)."""
        if self._context is not None:
            connection.send(block)
            return True
        rest = memoryview(block)
        while rest:
            readable, writable, _ = select.select([connection.sock], [connection.sock], [], timeout)
            if readable:
                return False
            if not writable:
                raise late()
            rest = rest[connection.sock.send(rest) :]
        return True

    def _translate(self, error: Exception) -> MedGANError:
        if isinstance(error, OSError):
            return translate(error, self.address)
        if isinstance(error, (http.client.BadStatusLine, http.client.UnknownProtocol, http.client.LineTooLong)):
            other = "http" if self.address.secure else "https"
            hint = (
                f"Check the port; if the server uses {other}, enter {other}://{self.address.host}:{self.address.port}."
            )
            return NotAMedGANServer("Something answered, but it does not speak HTTP.", hint, code="not_http")
        return Disconnected("The server's answer broke off.", "Try again.")


def _tls_context(ca_file: Optional[str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise TLSFailed(f"The certificate file {ca_file} cannot be used.", "Choose a PEM file.") from error


def _checked_token(token: str) -> str:
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise TokenRequired("The access token has characters that no token has.", "Enter it again.")
    return token


def _error_content(reply: Reply) -> bytes:
    """Return the body of a refusal, or what can be had of it."""
    with contextlib.suppress(MedGANError, OSError, http.client.HTTPException):
        return reply.content()
    return b""


def save_blocks(blocks: Iterator[bytes], path: Path) -> str:
    """Write blocks to a file that is complete or absent; return the SHA-256 of its content."""
    digest = hashlib.sha256()
    partial = path.with_name(f".{path.name}.{threading.get_ident()}.part")
    try:
        with partial.open("wb") as file:
            for block in blocks:
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()

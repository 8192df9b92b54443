"""The server's address as people type it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple
from urllib.parse import urlsplit

from .errors import BadAddress

HINT = "Enter an address such as http://127.0.0.1:8000."
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses on which a server listens, but which no client can call."""


@dataclass(frozen=True)
class Address:
    """Where a server is; `prefix` is a path in front of all routes, empty or like `/medgan`."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    notes: Tuple[str, ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def local(self) -> bool:
        """Whether the server runs on this computer."""
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")


def parse_address(text: str) -> Address:
    """Read an address; scheme, port and trailing slash may be missing.

    Raises:
        BadAddress: It is not an HTTP address.
    """
    text = text.strip()
    notes = []
    if "://" not in text:
        text = f"http://{text}"
        notes.append(f"No scheme given: {text} is used.")
    scheme, host, port, path = _split(text)
    if host in WILDCARDS:
        notes.append(f"{host} is where a server listens; {WILDCARDS[host]} (this computer) is used instead.")
        host = WILDCARDS[host]
    return Address(scheme, host, port, path, tuple(notes))


def _split(text: str) -> Tuple[str, str, int, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"'{text}' is not an address: {error}.", HINT) from error
    if parts.scheme not in ("http", "https"):
        raise BadAddress(f"'{parts.scheme}://' addresses cannot be used.", HINT)
    if not parts.hostname or re.search(r"[\s\x00-\x1f]", text) or parts.username is not None:
        raise BadAddress(f"'{text}' is not an address.", HINT)
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme], parts.path.rstrip("/")

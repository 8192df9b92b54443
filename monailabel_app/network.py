"""Where the server listens, how, and for whom: settings that cannot work are told before it starts."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
USUAL = re.compile(r"http://.*:80|https://.*:443")  # ports that browsers leave out of an origin


def usable_port(host: str, port: int) -> int:
    """The port that the server can listen on; a free one for 0. Raises ValueError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            if os.name == "posix" and port:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:
        where = f"Port {port} on {host}" if port else f"The address {host}"
        hint = "Choose another with --port, or stop the program that uses it." if port else "Give another with --host."
        raise ValueError(f"{where} cannot be used: {getattr(error, 'strerror', None) or error}. {hint}") from error


def check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Raises ValueError for a key without a certificate, or a certificate that it does not open."""
    if certificate is None:
        if key:
            raise ValueError("--ssl-keyfile needs --ssl-certfile beside it.")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        beside = f"--ssl-keyfile {key}" if key else "no --ssl-keyfile"
        raise ValueError(f"--ssl-certfile {certificate} with {beside} cannot be used: {reason}.") from error


def check_origins(origins: Iterable[str]) -> None:
    """Raises ValueError for what no browser sends as a page's origin, so that it would never match."""
    for origin in origins:
        if not ORIGIN.fullmatch(origin) or USUAL.fullmatch(origin):
            hint = "It needs the form scheme://host or scheme://host:port, in small letters, without a path or slash,"
            raise ValueError(f"--cors {origin!r} is no web origin. {hint} and without the usual port.")

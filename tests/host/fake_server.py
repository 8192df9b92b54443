"""Servers that misbehave, on free ports of this computer; the one that behaves is `MedGANLib.testing.server`."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

HTML = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 18\r\nConnection: close\r\n\r\n<h1>It works!</h1>"
)


def closed_port() -> str:
    """Returns an address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def answering(data: bytes | None) -> Iterator[str]:
    """Listens and answers every connection with the same bytes, whatever is asked.

    Args:
        data: The answer; None never answers at all.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()
    thread = threading.Thread(target=_serve, args=(listener, data, stop), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.close()
        thread.join(5)


def _serve(listener: socket.socket, data: bytes | None, stop: threading.Event) -> None:
    listener.settimeout(0.1)
    held = []
    while not stop.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:
            continue
        held.append(connection)
        if data is not None:
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(data)
            connection.close()
    for connection in held:
        connection.close()

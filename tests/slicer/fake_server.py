"""A server on a real socket whose answers, good or bad, are written by the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BOUNDARY = "----fake----"


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One request at the server's end; the routes are called with it."""

    protocol_version = "HTTP/1.1"
    server: FakeServer

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        self.seen = Seen(
            self.command,
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            {name.lower(): value for name, value in self.headers.items()},
            b"",
        )
        self.server.seen.append(self.seen)
        route = self.server.routes.get((self.command, parts.path)) or self.server.routes.get(("*", "*"))
        if route is None:
            self.read_body()
            self.answer(404, {"detail": "Not Found"})
        else:
            route(self)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def read_body(self) -> bytes:
        """Reads the request's body."""
        self.seen.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return self.seen.body

    def answer(self, status: int, content: Any, kind: str = "application/json", **headers: str) -> None:
        """Sends an answer; JSON unless it is bytes."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.start(status, len(data), kind, **headers)
        self.wfile.write(data)

    def start(self, status: int, length: int, kind: str = "application/json", **headers: str) -> None:
        """Sends the head of an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def hang(self) -> None:
        """Says nothing more until the test is over."""
        self.server.over.wait(30)

    def drop(self) -> None:
        """Breaks the connection."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Keeps quiet."""


Route = Callable[[Exchange], None]


@dataclass
class FakeServer(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1.

    Attributes:
        routes: (method, path) -> what to do; ("*", "*") for all others.
        seen: The requests that arrived, in order.
    """

    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.daemon_threads = True
        self.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def on(self, method: str, path: str, route: Route) -> None:
        """Answers a path with a function."""
        self.routes[(method, path)] = route

    def reply(self, method: str, path: str, content: Any, status: int = 200, **more: str) -> None:
        """Answers a path with fixed content."""

        def route(exchange: Exchange) -> None:
            exchange.read_body()
            exchange.answer(status, content, **more)

        self.on(method, path, route)

    def requests(self, method: str, path: str) -> list[Seen]:
        """Returns the requests of a kind that arrived."""
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, path)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break connections on purpose here."""


@contextmanager
def running(server: FakeServer) -> Iterator[FakeServer]:
    """Serves on a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def multipart(params: Any, file: bytes = b"", filename: str = "label.nii.gz", boundary: str = BOUNDARY) -> bytes:
    """Returns the body of an answer of /infer/."""
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(params)}\r\n'.encode()]
    if file:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{filename}"\r\n'
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + file + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def form_parts(seen: Seen) -> dict[str, bytes]:
    """Returns the parts of a multipart request by name."""
    boundary = seen.headers["content-type"].split("boundary=")[1].encode()
    parts = {}
    for block in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, content = block.partition(b"\r\n\r\n")
        parts[head.split(b'name="')[1].split(b'"')[0].decode()] = content[:-2]
    return parts


MODEL = {
    "type": "segmentation",
    "labels": {"anterior": 3, "posterior": 7},
    "description": "Segments the hippocampus",
    "medgan": {
        "task": "segmentation",
        "output": "labelmap",
        "title": "Hippocampus",
        "options": {"type": "object", "properties": {"points": {"type": "array", "x-widget": "points"}}},
        "version": "v0001",
        "checksum": "sha256:00",
        "colors": {"anterior": [0.9, 0.7, 0.2]},
        "trainable": True,
    },
}
INFO = {
    "name": "MedGAN",
    "version": "0.8.5",
    "models": {"hippocampus": MODEL},
    "trainers": {},
    "strategies": {"first": {}},
    "datastore": {"total": 3, "completed": 1},
    "medgan": {"version": "0.1.0", "limits": {"max_upload_mb": 64, "max_voxels": 10_000_000}, "token_required": False},
}
STOCK_INFO = {
    "name": "Radiology",
    "version": "0.8.5",
    "labels": ["spleen"],
    "models": {"segmentation_spleen": {"type": "segmentation", "labels": {"spleen": 1, "background": 0}}},
    "trainers": {"segmentation_spleen": {}},
    "strategies": {"random": {}},
    "datastore": {"total": 2, "completed": 0},
}

"""One id a request: in the answer, in the log and in errors; one line of the log and one count a request."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar
from typing import Any, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
UNKNOWN = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
QUIET = frozenset({"/health", "/ready", "/metrics"})
_GIVEN = re.compile(r"[0-9a-fA-F-]{8,64}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The id of the request that is being answered, or a new one outside of any."""
    return _current.get() or _new_id()


def current_id() -> str:
    """The id of the request that is being answered; empty outside of any."""
    return _current.get()


def _new_id() -> str:
    return uuid.uuid4().hex[:16]


class Counter(Protocol):
    """What counts requests."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one."""


class Trace:
    """ASGI middleware, the outermost.

    Args:
        app: what answers. counter: hears of every request.
    """

    def __init__(self, app: ASGIApp, counter: Counter) -> None:
        self._app, self._counter = app, counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection. A request's id may come from a proxy, if it is none that could tell anything."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _GIVEN.fullmatch(given) else _new_id()
        _current.set(name)
        begun, status = time.perf_counter(), 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            self._tell(scope, status, time.perf_counter() - begun)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = route_of(scope)
        self._counter.request(method, route, status, seconds)
        user: Any = scope.get("state", {}).get("user")
        told = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
        level = logging.DEBUG if route in QUIET else logging.INFO
        more = {**told, "user": getattr(user, "subject", "")}
        logger.log(level, "%s %s %d", method, route, status, extra={"request": more})


def route_of(scope: Scope) -> str:
    """The template of the route that answered, e.g. `/infer/{model}`: it has no id, whatever was asked for."""
    path = getattr(scope.get("route"), "path", UNKNOWN)
    return str(path)

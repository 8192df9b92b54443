"""Limits: on a request's size, kept while the body arrives and not after it has filled the disk; and on how often."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from fastapi.params import File
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monailabel_app.errors import MedGANError, error_response

FORM_OVERHEAD = 1 << 20  # bytes of a multipart body beside its file
TEXT_BYTES = 1 << 20  # of any other body, which is read into memory as a whole
FORM = "multipart/form-data"
BURST_SECONDS = 10.0  # so many seconds' worth of requests may come at once
FAILURES, FAILURE_RATE = 20.0, 1.0  # log-ins that may fail at once, and each second from then on
MOST_CLIENTS = 4096


class BodyLimit:
    """ASGI middleware that refuses a body over the limit, by its declared length or else as soon as it is passed.

    Files come in forms of several parts, which go to the disk; any other body may be small alone.

    Args:
        app: what it protects. megabytes: the largest file.
        routes: the application's; elsewhere a body is read into memory whatever its header calls it.
    """

    def __init__(self, app: ASGIApp, megabytes: int, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._files = [
            route
            for route in routes
            if isinstance(route, APIRoute) and route.body_field and isinstance(route.body_field.field_info, File)
        ]
        self._bytes = (megabytes << 20) + FORM_OVERHEAD
        self._megabytes = megabytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith(FORM)
        most = self._bytes if is_form and self._takes_files(scope) else TEXT_BYTES
        if _declared(headers) > most:
            await self._drain(receive)
            await error_response(self._error(most))(scope, receive, send)
            return
        await self._app(scope, self._counted(receive, most), send)

    def _takes_files(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] == Match.FULL for route in self._files)

    def _error(self, most: int) -> MedGANError:
        if most == TEXT_BYTES:
            hint = "Send files as parts of a form, multipart/form-data."
            return MedGANError("too_large", f"More than {TEXT_BYTES >> 20} MB were sent that are no file.", hint)
        hint = "Crop or resample the image, or ask the administrator for a higher --max-upload-mb."
        return MedGANError("too_large", f"More than {self._megabytes} MB were sent.", hint)

    async def _drain(self, receive: Receive) -> None:
        """Throws the rest away: most clients read the answer only after they have sent everything."""
        left = 2 * self._bytes
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    def _counted(self, receive: Receive, most: int) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > most:
                if message.get("more_body", False):
                    await self._drain(receive)
                raise self._error(most)
            return message

        return counted


def _declared(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


class Buckets:
    """Token buckets, one a client; those not used for longest are forgotten, which only makes them full.

    Args:
        rate: tokens that flow in each second. size: tokens that a bucket holds. clock: in seconds.
    """

    def __init__(self, rate: float, size: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._size, self._clock = rate, size, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Seconds until the client's bucket holds a token again; 0 if it does."""
        return max(0.0, (1.0 - self._level(client)) / self._rate)

    def take(self, client: str) -> None:
        """Takes a token, down to none."""
        self._levels[client] = (max(0.0, self._level(client) - 1.0), self._clock())
        self._levels.move_to_end(client)
        if len(self._levels) > MOST_CLIENTS:
            self._levels.popitem(last=False)

    def _level(self, client: str) -> float:
        level, then = self._levels.get(client, (self._size, self._clock()))
        return min(self._size, level + self._rate * (self._clock() - then))


class RateLimits:
    """How often a client may ask, and how often it may fail to log in.

    Args:
        rate: requests a second; 0 sets no limit at all. clock: in seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._on = rate > 0
        self._requests = Buckets(rate or 1.0, max(1.0, rate * BURST_SECONDS), clock)
        self._failures = Buckets(FAILURE_RATE, FAILURES, clock)

    def take(self, client: str) -> None:
        """Counts a request. Raises MedGANError `too_many_requests`."""
        self._check(self._requests, client, "This client asks too often.")
        self._requests.take(client)

    def count_failure(self, client: str) -> None:
        """Counts a log-in that failed."""
        self._failures.take(client)

    def check_failures(self, client: str) -> None:
        """Raises MedGANError `too_many_requests` if too many log-ins failed."""
        self._check(self._failures, client, "Too many log-ins failed.")

    def _check(self, buckets: Buckets, client: str, message: str) -> None:
        seconds = buckets.wait(client) if self._on else 0.0
        if seconds:
            raise MedGANError("too_many_requests", message, "Wait a little.", retry_seconds=seconds)

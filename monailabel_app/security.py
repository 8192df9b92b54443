"""Who may call: host names, web origins, the log-in and how often. Plain ASGI: nothing is read before it is allowed."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monailabel_app.config import LOOPBACK
from monailabel_app.errors import MedGANError, error_response
from monailabel_app.limits import RateLimits
from monailabel_app.login import Login
from monailabel_app.users import EVERYBODY, User

OPEN_PATHS = ("/health", "/ready", "/auth/", "/auth/token")
UNLIMITED_PATHS = ("/health", "/ready", "/metrics")
"""Monitoring may ask for these as often as it likes."""
PROBES = ("/health", "/ready")
"""What asks nobody for a token, so that no log-in can fail there."""
LOGIN_THREADS = 4
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware that lets a request through or answers it with an error, and adds the security headers.

    Args:
        app: what it protects.
        login: who is let in.
        loopback: whether only names of this computer are taken as `Host`, which defeats DNS rebinding.
        origins: web origins that may call beside the server's own.
        rate: requests that a client may make each second; 0 sets no limit.
    """

    def __init__(
        self,
        app: ASGIApp,
        login: Login = Login(),
        loopback: bool = True,
        origins: Collection[str] = (),
        rate: float = 0.0,
    ) -> None:
        self._app, self._login, self._limits = app, login, RateLimits(rate)
        self._loopback, self._origins = loopback, frozenset(origins)
        self._threads = anyio.CapacityLimiter(LOGIN_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = self._watched(scope, send)
        try:
            self._check(Headers(scope=scope))
            scope.setdefault("state", {})["user"] = await self._admit(scope)
        except MedGANError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        if self._loopback and not _is_loopback(headers.get("host", "")):
            raise MedGANError("bad_request", "This server answers only to 127.0.0.1 and localhost.")
        self._check_origin(headers)

    def _check_origin(self, headers: Headers) -> None:
        """A web page of another site must not act through its visitor's browser."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc != headers.get("host", "") or origin == "null":
            hint = "The administrator can allow it with --cors."
            raise MedGANError("bad_request", f"Web pages of {origin[:80]} may not call this server.", hint)

    async def _admit(self, scope: Scope) -> User:
        """Who asks, if they may and have not asked too often."""
        path, address = scope["path"], _address(scope)
        if path not in PROBES:
            self._limits.check_failures(address)
        user = EVERYBODY if path in OPEN_PATHS else await self._user(Headers(scope=scope))
        if path not in UNLIMITED_PATHS:
            self._limits.take(user.subject or address)
        return user

    async def _user(self, headers: Headers) -> User:
        given = headers.get("authorization", "")
        if self._login.provider is None:
            return self._login.user(given)
        return await anyio.to_thread.run_sync(self._login.user, given, limiter=self._threads)

    def _watched(self, scope: Scope, send: Send) -> Send:
        """Adds the headers, and counts log-ins that failed."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] == 401:
                    self._limits.count_failure(_address(scope))
            await send(message)

        return watched


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False

"""Who may call: host names, web origins and the token. Plain ASGI, so that nothing is read before it is allowed."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monailabel_app.config import LOOPBACK
from monailabel_app.errors import MedGANError, error_response

OPEN_PATHS = ("/health", "/auth/", "/auth/token")
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
        token: what `Authorization: Bearer` must say; empty lets everyone in.
        loopback: whether only names of this computer are taken as `Host`, which defeats DNS rebinding.
        origins: web origins that may call beside the server's own.
    """

    def __init__(self, app: ASGIApp, token: str = "", loopback: bool = True, origins: Collection[str] = ()) -> None:
        self._app, self._token = app, token
        self._loopback, self._origins = loopback, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope["path"], Headers(scope=scope))
        except MedGANError as error:
            await error_response(error)(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _check(self, path: str, headers: Headers) -> None:
        if self._loopback and not _is_loopback(headers.get("host", "")):
            raise MedGANError("bad_request", "This server answers only to 127.0.0.1 and localhost.")
        self._check_origin(headers)
        if self._token and path not in OPEN_PATHS and not self._has_token(headers):
            raise MedGANError("token_required", "This server needs a token.", "Ask its administrator for the token.")

    def _check_origin(self, headers: Headers) -> None:
        """A web page of another site must not act through its visitor's browser."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc != headers.get("host", "") or origin == "null":
            hint = "The administrator can allow it with --cors."
            raise MedGANError("bad_request", f"Web pages of {origin[:80]} may not call this server.", hint)

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and same_secret(given.strip(), self._token)


def same_secret(given: str, secret: str) -> bool:
    """Compares in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), secret.encode())


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return wrapped

"""The limit on a request's size, kept while the body arrives and not after it has filled the disk."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monailabel_app.errors import MedGANError, error_response

FORM_OVERHEAD = 1 << 20  # bytes of a multipart body beside its file


class BodyLimit:
    """ASGI middleware that refuses a body over the limit, by its declared length or else as soon as it is passed.

    Args:
        app: what it protects. megabytes: the largest file.
    """

    def __init__(self, app: ASGIApp, megabytes: int) -> None:
        self._app = app
        self._bytes = (megabytes << 20) + FORM_OVERHEAD
        hint = "Crop or resample the image, or ask the administrator for a higher --max-upload-mb."
        self._error = ("too_large", f"More than {megabytes} MB were sent.", hint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http" and self._declared(scope) > self._bytes:
            await self._drain(receive)
            await error_response(MedGANError(*self._error))(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    async def _drain(self, receive: Receive) -> None:
        """Throws the rest away: most clients read the answer only after they have sent everything."""
        left = 2 * self._bytes
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    def _declared(self, scope: Scope) -> int:
        text = Headers(scope=scope).get("content-length", "0")
        return int(text) if text.isdecimal() else 0

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._bytes:
                if message.get("more_body", False):
                    await self._drain(receive)
                raise MedGANError(*self._error)
            return message

        return counted

"""One server, and how it is asked: the ground that the client's calls stand on. Standard library only."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import quote

from .address import parse_address
from .cancel import CancelToken
from .errors import MedGANError, NotFound, ServerTooOld
from .multipart import JsonBody
from .records import JobStatus
from .transport import Request, Transport

PathLike = Union[str, Path]
TIMEOUT, INFER_TIMEOUT = 30.0, 900.0
"""Seconds without any data after which an ordinary call, and a run of a model, fails."""
DEADLINES = 2
"""A call with a JSON answer may last this many time-outs altogether, however slowly data drips."""


class ServerCalls:
    """An address, a token, time-outs, and requests with JSON answers."""

    def __init__(
        self,
        url: str,
        token: Optional[str] = None,
        timeout: float = TIMEOUT,
        client_id: Optional[str] = None,
        ca_file: Optional[PathLike] = None,
        *,
        connect_timeout: float = 5.0,
        infer_timeout: float = INFER_TIMEOUT,
        cache_dir: Optional[PathLike] = None,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            url: Address; scheme and trailing slash are optional.
            token: Access token, sent as `Authorization: Bearer`.
            timeout: Seconds without any data after which an ordinary call fails.
            client_id: Name of this client; by default a random one.
            ca_file: PEM file of the authority that signed the server's certificate; the system's by default.
            connect_timeout: Seconds in which a connection must be made.
            infer_timeout: Seconds without any data after which a run of a model fails.
            cache_dir: Folder for downloaded studies; by default a private temporary folder.

        Raises:
            BadAddress: `url` is not an address.
        """
        self._address = parse_address(url)
        self._transport = Transport(self._address, token, connect_timeout, str(ca_file) if ca_file else None)
        self._timeout = timeout
        self._infer_timeout = infer_timeout
        self._cache = Path(cache_dir) if cache_dir else None
        self.address = str(self._address)
        self.notes = self._address.notes
        self.client_id = client_id or f"slicer-{secrets.token_hex(4)}"

    def job(self, job_id: str, cancel: Optional[CancelToken] = None) -> JobStatus:
        """Return the state of a job at the server: a run of a model, or an export."""
        return JobStatus.from_json(self._json("GET", f"/jobs/{quote(job_id, safe='')}", cancel=cancel))

    def cancel_job(self, job_id: str) -> None:
        """Cancel a job at the server."""
        self._json("DELETE", f"/jobs/{quote(job_id, safe='')}")

    def _request(self, method: str, path: str, **more: Any) -> Request:
        return Request(method, path, timeout=self._timeout, deadline=DEADLINES * self._timeout, **more)

    def _json(self, method: str, path: str, document: Any = None, cancel: Optional[CancelToken] = None) -> Any:
        body = None if document is None else JsonBody(document)
        return self._answer(self._request(method, path, body=body, cancel=cancel))

    def _answer(self, request: Request) -> Any:
        """Return a JSON object; a bare list comes as `{"list": …}`."""
        answer = self._transport.json(request)
        return answer if isinstance(answer, dict) else {"list": answer} if isinstance(answer, list) else {}

    def _newer(self, request: Request, what: str) -> Any:
        """Return the answer of a route that older servers do not have; `what` says what they lack.

        Raises:
            ServerTooOld: The server has no such route.
        """
        try:
            return self._answer(request)
        except MedGANError as error:
            raise too_old_or(error, what) from error


def too_old_or(error: MedGANError, what: str) -> MedGANError:
    """Return `error`, unless it comes from a server that has no such route at all."""
    missing = isinstance(error, NotFound) and (not error.id or error.code == "not_found")
    if not missing and error.status != 405:
        return error
    return ServerTooOld(what, "It is an older MedGAN server, or a MONAI Label server without MedGAN.")

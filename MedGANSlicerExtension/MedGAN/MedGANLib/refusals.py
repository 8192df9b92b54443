"""From a refusing answer (status and body) to one typed error, with or without MedGAN's error contract."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Tuple, Type

from .errors import (
    LATE_HINT,
    BadRequest,
    Busy,
    Cancelled,
    CannotProcess,
    Conflict,
    MedGANError,
    ModelNotAvailable,
    NotAMedGANServer,
    NotAnImage,
    NotFound,
    ServerFailure,
    TimedOut,
    TokenRequired,
    TooLarge,
)

BY_STATUS: Dict[int, Type[MedGANError]] = {
    400: BadRequest,
    401: TokenRequired,
    403: TokenRequired,
    404: NotFound,
    408: TimedOut,
    409: Conflict,
    413: TooLarge,
    415: NotAnImage,
    422: CannotProcess,
    429: Busy,
    503: ModelNotAvailable,
    504: TimedOut,
}
BY_CODE: Dict[str, Type[MedGANError]] = {
    "busy": Busy,
    "cancelled": Cancelled,
    "archive_unavailable": ServerFailure,
    "login_not_available": ServerFailure,
    "storage_not_available": ServerFailure,
    "not_ready": ServerFailure,
}
PLAIN: Dict[Type[MedGANError], Tuple[str, str]] = {
    BadRequest: (
        "The server could not read the request.",
        "The versions of module and server may differ; update both.",
    ),
    TokenRequired: ("The server wants an access token.", "Enter the token that its administrator gave you."),
    NotFound: ("The server does not know what was asked for.", "Connect again to refresh the lists."),
    TimedOut: ("The server did not answer in time.", LATE_HINT),
    Conflict: ("The server is in a state that does not allow this.", "Wait for what is running, then try again."),
    Busy: ("The server has too much to do.", "Try again in a minute."),
    TooLarge: (
        "The volume is over the server's limit.",
        "Crop the volume, or ask the administrator to raise the limit.",
    ),
    NotAnImage: ("The server could not read the file as an image.", "Check that the volume is a scalar 3D volume."),
    CannotProcess: (
        "The server cannot process this image.",
        "Check that it is a 3D volume of the kind the model expects.",
    ),
    ModelNotAvailable: ("The model is not available.", "Ask the administrator, or choose another model or version."),
    ServerFailure: ("The server failed.", "Try again; if it stays, ask the administrator to look at the server's log."),
}
"""Message and hint for answers that carry none of their own."""


def refusal(status: int, content: bytes, location: str = "") -> MedGANError:
    """Return the error that an answer outside 200…299 stands for."""
    if 300 <= status < 400:
        return _redirect(status, location)
    document = _document(content)
    contract = document.get("error")
    if isinstance(contract, Mapping):
        return _from_contract(status, contract)
    kind = BY_STATUS.get(status, ServerFailure)
    message, hint = PLAIN[kind]
    detail = document.get("detail")
    said = f" It says: {detail}" if isinstance(detail, str) and detail else ""
    return kind(f"{message}{said}", hint, status=status)


def _from_contract(status: int, contract: Mapping[str, Any]) -> MedGANError:
    code = str(contract.get("code") or "")
    kind = BY_CODE.get(code) or BY_STATUS.get(status, ServerFailure)
    message, hint = PLAIN.get(kind, ("", ""))
    return kind(
        str(contract.get("message") or message),
        str(contract.get("hint") or hint),
        code=code,
        id=str(contract.get("id") or ""),
        status=status,
    )


def _redirect(status: int, location: str) -> MedGANError:
    target = f" to {location}" if location else ""
    return NotAMedGANServer(
        f"The server sends requests on{target}; that is not followed, so that no study goes elsewhere.",
        "If that is the right server, enter its address.",
        status=status,
    )


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, Mapping) else {}

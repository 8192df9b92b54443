"""The one shape of every error answer: code, message, hint and an id that is found again in the log."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monailabel_app.storage import STORAGE, storage_failure
from monailabel_app.tracing import request_id
from trainers.data.volumes import VolumeError
from trainers.monitor import Cancelled
from trainers.spec import ModelNotAvailable

logger = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    **dict.fromkeys(("bad_request", "bad_params", "bad_option", "bad_name"), 400),
    "token_required": 401,
    "admin_required": 403,
    **dict.fromkeys(("unknown_image", "unknown_label", "unknown_model", "unknown_version", "unknown_strategy"), 404),
    **dict.fromkeys(("unknown_method", "unknown_job", "unknown_session", "unknown_trainer"), 404),
    **dict.fromkeys(("unknown_run", "unknown_entry"), 404),
    **dict.fromkeys(("no_training", "nothing_to_label", "not_found"), 404),
    "no_archive": 404,
    **dict.fromkeys(("busy", "conflict", "cancelled"), 409),
    **dict.fromkeys(("no_source", "no_identity", "may_identify"), 422),
    "too_large": 413,
    "not_an_image": 415,
    **dict.fromkeys(
        ("cannot_process", "wrong_geometry", "wrong_labels", "needs_region", "outside_image", "too_few_labels"), 422
    ),
    "too_many_requests": 429,
    "server_error": 500,
    "archive_refused": 502,
    "archive_unavailable": 503,
    **dict.fromkeys(("model_not_available", "login_not_available", "storage_not_available", "not_ready"), 503),
    "disk_full": 507,
}
QUEUE_FULL = 503  # status of `busy` where waiting helps by itself
RETRY_SECONDS = 60.0
_QUOTED = re.compile(r"""'[^'\n]*'|"[^"\n]*\"""")


class ErrorTold(BaseModel):
    """What an error answer tells: `code` is a key of STATUS, `id` the request's."""

    code: str
    message: str
    hint: str
    id: str


class ErrorAnswer(BaseModel):
    """Every answer of 400 and above; `detail` is what stock clients show."""

    error: ErrorTold
    detail: str


class MedGANError(HTTPException):
    """An error that a client can act on.

    It is an HTTPException so that one raised while a body is being read keeps its status.

    Attributes:
        code: a key of STATUS. message: what is wrong. hint: what to do.
        status: in place of the code's usual one. retry_seconds: after which it may work; 0 if that is not known.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, status: int = 0, retry_seconds: float = 0.0) -> None:
        headers = {"WWW-Authenticate": "Bearer"} if code == "token_required" else {}
        headers |= {"Retry-After": str(math.ceil(retry_seconds))} if retry_seconds else {}
        super().__init__(status or STATUS[code], f"{message} {hint}".strip(), headers or None)
        self.code, self.message, self.hint = code, message, hint

    def __str__(self) -> str:
        return self.detail


def choices(names: Any) -> str:
    """`a, b, c`, or `none`, for a hint."""
    return ", ".join(sorted(map(str, names))) or "none"


def install(app: FastAPI) -> None:
    """Makes `app` answer every failure in the shape of the contract."""
    handlers: dict[Any, Any] = {
        MedGANError: _medgan,
        VolumeError: _volume,
        ModelNotAvailable: _not_available,
        Cancelled: _cancelled,
        torch.OutOfMemoryError: _no_gpu_memory,
        RequestValidationError: _validation,
        HTTPException: _http,
        MONAILabelException: _monailabel,
        OSError: _unexpected,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def error_response(error: MedGANError, cause: BaseException | None = None) -> JSONResponse:
    """The JSON answer for `error`; the log has its id, which is the request's, beside the cause.

    What the message quotes, names of studies for the most part, stays out of the log.
    """
    name = request_id()
    level = logging.ERROR if error.status_code >= 500 else logging.INFO
    logger.log(level, "error %s: %s %s", name, error.code, _QUOTED.sub("'…'", error.message), exc_info=cause)
    texts = {"message": error.message, "hint": error.hint, "detail": error.detail}
    shown = {key: text.encode(errors="replace").decode() for key, text in texts.items()}
    detail = shown.pop("detail")
    content = {"error": {"code": error.code, **shown, "id": name}, "detail": detail}
    return JSONResponse(content, status_code=error.status_code, headers=error.headers)


def _medgan(_request: Request, error: MedGANError) -> JSONResponse:
    return error_response(error)


def _volume(_request: Request, error: VolumeError) -> JSONResponse:
    return error_response(MedGANError(error.code, error.message, error.hint))


def _not_available(_request: Request, error: ModelNotAvailable) -> JSONResponse:
    hint = "Ask the administrator to roll back to another version."
    return error_response(MedGANError("model_not_available", str(error), hint), error)


def _cancelled(_request: Request, _error: Cancelled) -> JSONResponse:
    return error_response(MedGANError("cancelled", "The job was cancelled."))


def _no_gpu_memory(_request: Request, error: torch.OutOfMemoryError) -> JSONResponse:
    hint = "Try again in a minute, or with a smaller image."
    full = MedGANError("busy", "The GPU's memory is taken.", hint, status=QUEUE_FULL, retry_seconds=RETRY_SECONDS)
    return error_response(full, error)


def _validation(_request: Request, error: RequestValidationError) -> JSONResponse:
    places = [f"{'.'.join(map(str, e['loc'][1:])) or e['loc'][0]}: {e['msg']}" for e in error.errors()]
    return error_response(MedGANError("bad_request", "The request cannot be read: " + "; ".join(places) + "."))


def _http(request: Request, error: HTTPException) -> JSONResponse:
    if isinstance(error.__cause__, OSError):  # while a form was being stored
        return _unexpected(request, error.__cause__)
    code = "not_found" if error.status_code == 404 else "bad_request"
    answer = MedGANError(code, f"{str(error.detail).rstrip('.')}.")
    answer.status_code = error.status_code if error.status_code in {404, 405} else answer.status_code
    answer.headers = error.headers
    return error_response(answer)


def _monailabel(_request: Request, error: MONAILabelException) -> JSONResponse:
    return error_response(MedGANError("bad_request", error.msg), error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return unexpected_response(request.app.state, error)


def unexpected_response(state: Any, error: Exception) -> JSONResponse:
    """The answer to a failure that nobody foresaw; one of the storage is told apart.

    Args:
        state: of the application, which may have `config`.
        error: what happened.
    """
    code = storage_failure(error, getattr(state, "config", None))
    if code:
        return error_response(_storage_error(code), error)
    message = "The server failed on this request; nothing was changed."
    return error_response(MedGANError("server_error", message, "Give the administrator this error's id."), error)


def _storage_error(code: str) -> MedGANError:
    if code == "not_found":
        return MedGANError(code, *STORAGE[code])
    status = QUEUE_FULL if code == "busy" else STATUS[code]
    return MedGANError(code, *STORAGE[code], status=status, retry_seconds=RETRY_SECONDS)


class LastResort:
    """ASGI middleware that answers what escapes, inside of those that add headers and count.

    Args:
        app: what may fail.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await unexpected_response(scope["app"].state, error)(scope, receive, send)

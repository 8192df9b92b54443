"""The server's log, without the names of studies."""

from __future__ import annotations

from collections import deque

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from monailabel_app.logs import blank
from monailabel_app.routes.params import JSON_ERRORS
from monailabel_app.services import Served
from monailabel_app.users import Admin

router = APIRouter(prefix="/logs", tags=["server"])


@router.get("/", response_class=PlainTextResponse, responses=JSON_ERRORS)
def logs(s: Served, _user: Admin, lines: int = 300) -> PlainTextResponse:
    """The end of the log, for administrators."""
    if not s.config.log.exists():
        return PlainTextResponse("")
    with s.config.log.open(encoding="utf-8", errors="replace") as stream:
        end = "".join(deque(stream, max(1, min(lines, 5000))))
    return PlainTextResponse(blank(end, s.config, s.datastore.list_images()))

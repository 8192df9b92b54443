"""Whether the server can work, and its figures, for monitoring systems."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from monailabel_app.errors import RETRY_SECONDS, MedGANError
from monailabel_app.metrics import Measured
from monailabel_app.routes.params import JSON_ERRORS
from monailabel_app.services import Served, Services
from monailabel_app.storage import free_bytes, is_writable

router = APIRouter(tags=["server"])


@router.get("/ready")
def ready(s: Served) -> dict[str, Any]:
    """Tells that requests can be served, and which models cannot. Raises MedGANError `not_ready` with the reasons."""
    without = [name for name in s.app.infers if not s.can_serve(name)]
    reasons = [*_storage(s), *(["no model can serve"] if len(without) == len(s.app.infers) else [])]
    if reasons:
        hint = "The administrator's guide says what to do."
        raise MedGANError("not_ready", f"Not ready: {'; '.join(reasons)}.", hint, retry_seconds=RETRY_SECONDS)
    return {"status": "ready", "unavailable": without}


@router.get("/metrics", response_class=PlainTextResponse, responses=JSON_ERRORS)
def metrics(s: Served, measured: Measured) -> Response:
    """Figures in Prometheus' text format."""
    return Response(measured.text(s), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _storage(s: Services) -> list[str]:
    """What is wrong with the folders: each must be writable and have room for the largest upload."""
    folders = {"studies": s.config.studies, "data": s.config.data}
    needed = s.config.max_upload_mb << 20
    closed = [f"the {name} folder cannot be written to" for name, path in folders.items() if not is_writable(path)]
    full = [
        f"less than {needed >> 20} MB free for {name}" for name, path in folders.items() if free_bytes(path) < needed
    ]
    return closed or full

"""Progress and cancelling of inferences."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app.services import Served

router = APIRouter(prefix="/jobs", tags=["inference"])


@router.get("/{job_id}")
def job(job_id: str, s: Served) -> dict[str, Any]:
    """How far a job is."""
    return s.jobs.get(job_id).describe()


@router.delete("/{job_id}")
def cancel(job_id: str, s: Served) -> dict[str, Any]:
    """Cancels a job; the request that waits for it ends with `cancelled`."""
    found = s.jobs.get(job_id)
    found.cancel()
    return found.describe()

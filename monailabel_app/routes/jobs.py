"""Progress and cancelling of inferences."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app.services import Served
from monailabel_app.users import Caller

router = APIRouter(prefix="/jobs", tags=["inference"])


@router.get("/{job_id}")
def job(job_id: str, s: Served) -> dict[str, Any]:
    """How far a job is."""
    return s.jobs.get(job_id).describe()


@router.delete("/{job_id}")
def cancel(job_id: str, s: Served, user: Caller) -> dict[str, Any]:
    """Cancels a job; the request that waits for it ends with `cancelled`. Others' are for administrators."""
    found = s.jobs.get(job_id)
    user.check_owner(found.owner, "The job")
    found.cancel()
    return found.describe()

"""Scores of studies, which active learning chooses by."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app.routes import tasks
from monailabel_app.services import Served, pick
from monailabel_app.users import Caller

router = APIRouter(prefix="/scoring", tags=["studies"])
METHOD = "scoring"


@router.post("/")
def start_all(s: Served, user: Caller) -> dict[str, Any]:
    """Starts every scoring method; the first one that is busy ends it."""
    return {name: {"result": start(s, user, name), "detail": None} for name in s.app.scoring_methods}


@router.post("/{method}")
def start(s: Served, user: Caller, method: str) -> dict[str, Any]:
    """Starts a scoring method in a process of its own."""
    pick(s.app.scoring_methods, method, "unknown_method", "method")
    return tasks.start(s, user, METHOD, {"method": method})


@router.get("/")
def status(s: Served, check_if_running: bool = False) -> dict[str, Any]:
    """The last scoring."""
    return tasks.status(s, METHOD, check_if_running, "unknown_job")


@router.delete("/")
def stop(s: Served, user: Caller) -> dict[str, Any]:
    """Stops the scoring that runs; scores already stored stay."""
    return tasks.stop(s, user, METHOD, "unknown_job")

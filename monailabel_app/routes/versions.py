"""Versions of a model, and which one serves."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from monailabel_app.services import Served, Services
from monailabel_app.users import Admin
from trainers.spec import ModelNotAvailable

router = APIRouter(prefix="/models", tags=["versions"])


class Choice(BaseModel):
    """Body of a request to serve a version."""

    version: str
    force: bool = False


@router.get("/{name}/versions")
def versions(name: str, s: Served) -> dict[str, Any]:
    """All versions of a model, oldest first."""
    return _describe(name, s)


@router.put("/{name}/current")
def serve(name: str, choice: Choice, s: Served, _user: Admin) -> dict[str, Any]:
    """Serves a version from the next request on: roll back, or forward. For administrators."""
    s.registry.serve(name, choice.version, choice.force)
    return _describe(name, s)


def _describe(name: str, s: Services) -> dict[str, Any]:
    found = [version.describe() for version in s.registry.versions(name)]
    try:
        current = s.registry.current(name).name
    except ModelNotAvailable:
        current = None
    return {"model": name, "current": current, "versions": found}

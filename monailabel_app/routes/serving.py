"""What serves now and what is being learned: cheap, for clients that ask again and again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app.services import Served

router = APIRouter(tags=["versions"])
SHOWN = ("model", "run", "state", "eta_seconds")


@router.get("/serving")
def serving(s: Served) -> dict[str, Any]:
    """The version of every model that serves, the run that goes on, and how many labels are new."""
    progress = s.training.going_on()
    return {
        "models": {name: s.registry.serving(name) for name in s.app.infers},
        "training": {key: progress[key] for key in SHOWN} if progress else None,
        "submitted_since": s.auto_training.counts(),
        "auto_train": s.config.auto_train,
    }

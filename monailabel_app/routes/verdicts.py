"""Verdicts: clinicians mark studies as normal or abnormal, which calibrates models that detect."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from monailabel_app.datastore import VERDICTS
from monailabel_app.errors import MedGANError, choices
from monailabel_app.services import Served, Services

router = APIRouter(prefix="/verdict", tags=["verdicts"])
TASK = "anomaly"


class Verdict(BaseModel):
    """Body of a request: `""` takes a verdict back."""

    verdict: Literal["normal", "abnormal", ""]


@router.get("/{model}")
def verdicts(s: Served, model: str) -> dict[str, Any]:
    """All verdicts for a model, by study, and how many there are of each."""
    _check(s, model)
    found = s.datastore.verdicts(model)
    return {**_counts(found), "studies": found}


@router.post("/{model}")
def mark(s: Served, model: str, image: str, body: Verdict) -> dict[str, Any]:
    """Marks a study; a later verdict takes the place of an earlier one."""
    _check(s, model)
    with s.datastore.transaction():
        known = dict(s.datastore.get_image_info(image).get(VERDICTS, {}))
        known.pop(model, None)
        if body.verdict:
            known[model] = body.verdict
        s.datastore.update_image_info(image, {VERDICTS: known})
    return {"image": image, "verdict": body.verdict, **_counts(s.datastore.verdicts(model))}


def _counts(found: dict[str, str]) -> dict[str, int]:
    counts = Counter(found.values())
    return {name: counts[name] for name in ("normal", "abnormal")}


def _check(s: Services, model: str) -> None:
    """Raises MedGANError for a model that takes no verdicts."""
    if s.model(model).task != TASK:
        takes = [name for name, task in s.app.infers.items() if task.task == TASK]
        raise MedGANError("bad_request", f"{model} takes no verdicts.", f"Models that do: {choices(takes)}.")

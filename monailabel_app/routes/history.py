"""The history of labels: what was changed when and by whom, and the way back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from monailabel_app.datastore import FINAL
from monailabel_app.history import Entry, current
from monailabel_app.routes.params import author_of
from monailabel_app.services import Served
from monailabel_app.users import OWNER, Caller

router = APIRouter(prefix="/datastore/label", tags=["labels"])
Told = Annotated[dict[str, Any] | None, Body()]


@router.get("/history")
def entries(s: Served, label: str, tag: str = FINAL) -> dict[str, Any]:
    """Every change of a label, oldest first."""
    return _shown(s.datastore.label_history(label, tag))


@router.post("/restore")
def restore(s: Served, user: Caller, label: str, number: int, tag: str = FINAL, body: Told = None) -> dict[str, Any]:
    """Makes an earlier label the label again; that is a change of its own."""
    return _shown(s.datastore.restore_label(label, tag, number, author_of(user.signed(body or {}))))


@router.post("/undo")
def undo(s: Served, user: Caller, label: str, tag: str = FINAL, body: Told = None) -> dict[str, Any]:
    """Takes back the last change of a label that was not taken back yet; that is a change of its own.

    While the label is somebody else's, that is for administrators.
    """
    with s.datastore.transaction():
        entries = s.datastore.label_history(label, tag)
        if current(entries):
            user.check_owner(str(entries[-1].info.get(OWNER, "")), "The label")
        return _shown(s.datastore.undo_label(label, tag, author_of(user.signed(body or {}))))


def _shown(found: list[Entry]) -> dict[str, Any]:
    newest = current(found)
    shown = [entry.shown(entry.number == newest) for entry in found]
    return {"label": found[0].study, "tag": found[0].tag, "current": newest, "entries": shown}

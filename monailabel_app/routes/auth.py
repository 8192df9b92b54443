"""MONAI Label's own log-in: its clients ask for a name and password; the password is the token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form

from monailabel_app.errors import MedGANError
from monailabel_app.security import same_secret
from monailabel_app.services import Served

router = APIRouter(prefix="/auth", tags=["server"])


@router.get("/")
def enabled(s: Served) -> dict[str, Any]:
    """Tells whether a token is needed."""
    return {"enabled": bool(s.config.token), "client_id": "medgan", "realm": ""}


@router.post("/token")
def token(s: Served, password: Annotated[str, Form()] = "") -> dict[str, Any]:
    """Gives the token to who knows it. Raises MedGANError `token_required`."""
    if not s.config.token:
        return {"access_token": None, "token_type": None}
    if not same_secret(password, s.config.token):
        raise MedGANError("token_required", "The password is not this server's token.", "Ask its administrator.")
    return {"access_token": s.config.token, "token_type": "Bearer"}


@router.get("/token/valid")
def valid() -> dict[str, bool]:
    """Answers only those who have the token."""
    return {"valid": True}

"""MONAI Label's own log-in: its clients ask for a name and password; the password is a token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request

from monailabel_app.login import Login

router = APIRouter(prefix="/auth", tags=["server"])


def _login(request: Request) -> Login:
    found: Login = request.app.state.login
    return found


LoggedIn = Annotated[Login, Depends(_login)]


@router.get("/")
def enabled(login: LoggedIn) -> dict[str, Any]:
    """Tells whether a token is needed."""
    return {"enabled": login.needed, "client_id": "medgan", "realm": ""}


@router.post("/token")
def token(login: LoggedIn, password: Annotated[str, Form()] = "") -> dict[str, Any]:
    """Gives a token, the shared one or an identity provider's, to who has it. Raises MedGANError `token_required`."""
    if not login.needed:
        return {"access_token": None, "token_type": None}
    login.holder(password)
    return {"access_token": password, "token_type": "Bearer"}


@router.get("/token/valid")
def valid() -> dict[str, bool]:
    """Answers only those who have the token."""
    return {"valid": True}

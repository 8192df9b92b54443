"""What the server is and offers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app import __version__
from monailabel_app.activelearning import DEFAULT
from monailabel_app.services import Served
from monailabel_app.users import Caller

router = APIRouter(tags=["server"])


@router.get("/health")
def health() -> dict[str, str]:
    """Tells that the server runs; needs no token."""
    return {"status": "ok", "version": __version__}


@router.get("/info/")
def info(s: Served, user: Caller) -> dict[str, Any]:
    """MONAI Label's description of the app, with MedGAN's limits."""
    limits = {"max_upload_mb": s.config.max_upload_mb, "max_voxels": s.config.max_voxels}
    medgan = {
        "version": __version__,
        "limits": limits,
        "token_required": bool(s.config.token or s.config.oidc_issuer),
        "user": {"name": user.name, "admin": user.admin},
        "default_strategy": DEFAULT,
        "archive": bool(s.config.dicomweb),
    }
    return {**s.app.info(), "medgan": medgan}


@router.get("/model/info/{model}")
def model_info(model: str, s: Served) -> dict[str, Any]:
    """The version of a model that serves, in the shape of MONAI Label."""
    s.model(model)
    version = s.registry.current(model)
    return {"checksum": version.checksum, "version": version.name, "created": version.record.created}

"""Sessions: an image sent once for several requests."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Response, UploadFile
from fastapi.responses import FileResponse

from monailabel_app.errors import MedGANError
from monailabel_app.routes.params import BYTES, answers
from monailabel_app.services import Served
from monailabel_app.uploads import received
from trainers.data.volumes import Limits, check_file

router = APIRouter(prefix="/session", tags=["sessions"])


@router.put("/")
def create(s: Served, files: Annotated[list[UploadFile], File()], expiry: int = 0) -> dict[str, Any]:
    """Begins a session with one image."""
    if len(files) != 1:
        raise MedGANError("bad_request", "A session holds one image.", "Send one file.")
    with received(files[0], s.config.temporary) as path:
        check_file(path, Limits(max_voxels=s.config.max_voxels, pictures=True))
        meta = s.sessions.add(path, expiry)
    return {"session_id": meta["name"], "session_info": meta}


@router.get("/{session_id}", response_model=None, responses=answers("application/json", BYTES))
def get(s: Served, session_id: str, update_ts: bool = False, image: bool = False) -> Response | dict[str, Any]:
    """What is known of a session, or its image."""
    if image:
        path = s.sessions.image(session_id)
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)
    return s.sessions.describe(session_id, touch=update_ts)


@router.delete("/{session_id}")
def remove(s: Served, session_id: str) -> dict[str, Any]:
    """Ends a session."""
    return s.sessions.remove(session_id)

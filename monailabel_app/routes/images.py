"""Studies: list, upload, download, remove, and what is known of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import FileResponse

from monailabel_app import dicom
from monailabel_app.errors import MedGANError
from monailabel_app.names import check_new
from monailabel_app.routes.params import BYTES, answers, client_info, json_object
from monailabel_app.services import Served
from monailabel_app.synthetic import KEY as SYNTHETIC
from monailabel_app.synthetic import Mark, mark_of, mark_told
from monailabel_app.uploads import received, suffix_of
from monailabel_app.users import Admin
from trainers.data.volumes import Limits, Volume, read_volume, write_volume

router = APIRouter(prefix="/datastore", tags=["studies"])


@router.get("/")
def datastore(s: Served, output: Literal["stats", "train", "all"] = "stats") -> Any:
    """Counts, labelled pairs, or everything."""
    views = {"stats": s.datastore.status, "train": s.datastore.pairs, "all": s.datastore.json}
    return views[output]()


@router.put("/", include_in_schema=False)
@router.put("/image")
def add_image(
    s: Served,
    file: Annotated[UploadFile, File()],
    image: str = "",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, str]:
    """Stores an image as a new study, after reading all of it. A synthetic one is marked, in its file too."""
    suffix = suffix_of(file.filename)
    name = check_new("study id", image or Path(file.filename or "").name[: -len(suffix)])
    info, told = client_info(params, "params"), mark_told(json_object(params))
    with received(file, s.config.temporary) as path:
        volume = read_volume(path, Limits(max_voxels=s.config.max_voxels, pictures=True))
        found = mark_of(path)
        if told is None or (found is not None and found.model):
            return {"image": s.datastore.add_image(name, str(path), info)}
        marked = _with_mark(path, volume, told)
        return {"image": s.datastore.add_image(name, str(marked), {**info, SYNTHETIC: told.info()})}


def _with_mark(path: Path, volume: Volume, mark: Mark) -> Path:
    """The image as a file beside `path` whose header has the mark."""
    marked = path.with_name(f"marked{suffix_of(path.name)}")
    write_volume(marked, volume, mark.header())
    return marked


@router.delete("/", include_in_schema=False)
@router.delete("/image")
def remove_image(s: Served, _user: Admin, id: str) -> dict[str, Any]:
    """Removes a study and its labels, from memory too; for administrators."""
    s.datastore.remove_image(id)
    dicom.forget(id, s.config.data)
    s.app.recent.forget_removed()
    return {}


@router.head("/image", response_class=Response)
def has_image(s: Served, image: str, check_sum: str = "") -> Response:
    """Tells whether a study exists and, if asked, is the same file."""
    s.datastore.image_path(image)
    if check_sum and check_sum.upper().removeprefix("SHA256:") != s.datastore.checksum(image)[7:].upper():
        raise MedGANError("unknown_image", f"Study {image!r} has another checksum.")
    return Response()


@router.get("/image", response_class=FileResponse, responses=answers(BYTES))
def download_image(s: Served, image: str) -> FileResponse:
    """A study's file."""
    path = s.datastore.image_path(image)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/image/info")
def image_info(s: Served, image: str) -> dict[str, Any]:
    """What is known of a study."""
    return s.datastore.get_image_info(image)


@router.put("/image/info")
def update_image_info(s: Served, image: str, info: Annotated[str, Form()] = "{}") -> dict[str, Any]:
    """Adds to what is known of a study."""
    s.datastore.update_image_info(image, client_info(info))
    return {}

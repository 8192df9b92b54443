"""Studies: list, upload, download, remove, and what is known of each."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import FileResponse

from monailabel_app import dicom
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.split import forget_patient, patient_of
from monailabel_app.names import check_new
from monailabel_app.routes.params import BYTES, answers, client_info, json_object
from monailabel_app.routes.sending import OpenFile
from monailabel_app.services import Served, Services
from monailabel_app.synthetic import KEY as SYNTHETIC
from monailabel_app.synthetic import Mark, mark_of, mark_told
from monailabel_app.uploads import received, suffix_of
from monailabel_app.users import Admin
from trainers.data.volumes import Limits, Volume, read_volume, write_volume

logger = logging.getLogger(__name__)
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
    known = dicom.patients(s.config.data)
    s.datastore.remove_image(id)
    s.app.recent.forget_removed()
    try:
        _forget(s, id, known)
    except (OSError, ValueError, KeyError) as error:
        logger.exception("What is known of a study that was removed cannot be forgotten")
        message = "The study and its labels were removed, but not all that is known of it."
        hint = "Tell the administrator: docs/admin.md, Privacy, lists what else there is; the reason is in the log."
        raise MedGANError("storage_not_available", message, hint) from error
    return {}


def _forget(s: Services, study: str, known: dict[str, str]) -> None:
    """Forgets the series of a study that was removed and, if it was the last of its patient, the patient's part.

    Args:
        s: the server's parts.
        study: that was removed.
        known: patients of studies from DICOM, before that.
    """
    dicom.forget(study, s.config.data)
    pattern = s.config.patient_pattern
    patient = patient_of(study, pattern, known.get(study, ""))
    if patient not in {patient_of(name, pattern, known.get(name, "")) for name in s.datastore.list_images()}:
        forget_patient(s.config.data / "splits", patient)


@router.head("/image", response_class=Response)
def has_image(s: Served, image: str, check_sum: str = "") -> Response:
    """Tells whether a study exists and, if asked, is the same file."""
    s.datastore.image_path(image)
    if check_sum and check_sum.upper().removeprefix("SHA256:") != s.datastore.checksum(image)[7:].upper():
        raise MedGANError("unknown_image", f"Study {image!r} has another checksum.")
    return Response()


@router.get("/image", response_class=FileResponse, responses=answers(BYTES))
def download_image(s: Served, image: str) -> OpenFile:
    """A study's file."""
    return OpenFile(s.datastore.image_path(image))


@router.get("/image/info")
def image_info(s: Served, image: str) -> dict[str, Any]:
    """What is known of a study."""
    return s.datastore.get_image_info(image)


@router.put("/image/info")
def update_image_info(s: Served, image: str, info: Annotated[str, Form()] = "{}") -> dict[str, Any]:
    """Adds to what is known of a study."""
    s.datastore.update_image_info(image, client_info(info))
    return {}

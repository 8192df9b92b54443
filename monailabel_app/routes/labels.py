"""Labels: submit, download, remove, and what is known of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import FileResponse

from monailabel_app.datastore import FINAL
from monailabel_app.errors import MedGANError
from monailabel_app.history import voxels_of
from monailabel_app.index import Stamp
from monailabel_app.metrics import Measured
from monailabel_app.names import check_new
from monailabel_app.routes.params import BYTES, answers, author_of, client_info
from monailabel_app.routes.sending import OpenFile
from monailabel_app.services import Served, Services
from monailabel_app.uploads import received
from monailabel_app.users import AUTHOR, OWNER, Caller
from trainers.data.volumes import Limits, Volume, check_file, read_label, write_volume

router = APIRouter(prefix="/datastore/label", tags=["labels"])


@router.put("")
def submit(
    s: Served,
    user: Caller,
    measured: Measured,
    image: str,
    label: Annotated[UploadFile, File()],
    tag: str = FINAL,
    params: Annotated[str, Form()] = "{}",
) -> dict[str, Any]:
    """Stores a label, after checking it against its image and, if it is named, against a model's label values."""
    tag = check_new("label tag", tag or FINAL)
    info = _with_known_version(s, user.signed(client_info(params, "params")))
    values = _known_values(s, info)
    stamp = s.datastore.image_stamp(image)
    grid = check_file(s.datastore.image_path(image), Limits(pictures=True))
    with received(label, s.config.temporary, "label") as path:
        found = read_label(path, values, like=grid)
        _check_not_empty(found, tag, info)
        told = _store(s, path, Volume(found.array, grid.affine), image, stamp, tag, info)
    measured.label(str(info.get("model") or ""))
    run = s.auto_training.after_submission(image, tag)
    return {"image": image, "label": image, "medgan": {**told, "training": run}}


def _with_known_version(s: Services, info: dict[str, Any]) -> dict[str, Any]:
    """What a client told, without a version that this server's model does not have: another server's, or no name."""
    told, model = info.get("version"), str(info.get("model") or "")
    if model and told in [version.name for version in s.registry.versions(model)]:
        return info
    return {key: value for key, value in info.items() if key != "version"}


def _known_values(s: Services, info: dict[str, Any]) -> list[int] | None:
    if not info.get("model"):
        return None
    return list(s.model(str(info["model"])).spec.labels.values())


def _check_not_empty(label: Volume, tag: str, info: dict[str, Any]) -> None:
    """Refuses, as the last word on a study, a segmentation in which nothing is labelled: nothing can be learned."""
    if tag == FINAL and (info.get("model") or info.get("label_info")) and not label.array.any():
        hint = "Segment something, or choose another tag than final."
        raise MedGANError("wrong_labels", "The label is empty.", hint)


def _store(
    s: Services, sent: Path, label: Volume, image: str, stamp: Stamp, tag: str, info: dict[str, Any]
) -> dict[str, Any]:
    """Stores the label as NIfTI of our own making: nothing else that its file may carry is kept.

    Raises:
        MedGANError: `conflict`, if the image is not the one with `stamp` any more.
    """
    author, clean, voxels = author_of(info), sent.with_name("clean.nii.gz"), voxels_of(label.array)
    write_volume(clean, label)
    with s.datastore.transaction():
        if s.datastore.image_stamp(image) != stamp:
            raise MedGANError("conflict", "The image was replaced meanwhile.", "Open the study again and label that.")
        replaced = image in s.datastore.get_labeled_images(tag)
        s.datastore.save_label(image, str(clean), tag, info, author, voxels)
        number = s.datastore.label_history(image, tag)[-1].number
    return {"voxels": voxels, "replaced": replaced, "history": number}


@router.delete("")
def remove(s: Served, user: Caller, id: str, tag: str, author: str = "") -> dict[str, Any]:
    """Removes a label; it stays in its history. Others' are for administrators."""
    with s.datastore.transaction():
        user.check_owner(str(s.datastore.get_label_info(id, tag).get(OWNER, "")), "The label")
        s.datastore.remove_label(id, tag, author_of(user.signed({"author": author})))
    return {}


@router.head("", response_class=Response)
def has_label(s: Served, image: str, tag: str) -> Response:
    """Tells whether a label exists."""
    s.datastore.label_path(image, tag)
    return Response()


@router.get("", response_class=FileResponse, responses=answers(BYTES))
def download(s: Served, label: str, tag: str, number: int | None = None) -> OpenFile:
    """A label's file, or that of an entry of its history."""
    store = s.datastore
    path = store.label_path(label, tag) if number is None else store.label_entry_path(label, tag, number)
    return OpenFile(path)


@router.get("/info")
def label_info(s: Served, label: str, tag: str) -> dict[str, Any]:
    """What is known of a label."""
    return s.datastore.get_label_info(label, tag)


@router.put("/info")
def update_label_info(
    s: Served, user: Caller, label: str, tag: str, info: Annotated[str, Form()] = "{}"
) -> dict[str, Any]:
    """Adds to what is known of a label; others' are for administrators, and who made it is for nobody to say."""
    told = client_info(info)
    if user.subject:
        told.pop(AUTHOR, None)
    with s.datastore.transaction():
        user.check_owner(str(s.datastore.get_label_info(label, tag).get(OWNER, "")), "The label")
        s.datastore.update_label_info(label, tag, told)
    return {}

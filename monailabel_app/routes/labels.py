"""Labels: submit, download, remove, and what is known of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import FileResponse

from monailabel_app.datastore import FINAL
from monailabel_app.names import check_new
from monailabel_app.routes.params import client_info
from monailabel_app.services import Served, Services
from monailabel_app.uploads import received
from trainers.data.volumes import Limits, Volume, check_file, read_label, write_volume

router = APIRouter(prefix="/datastore/label", tags=["labels"])


@router.put("")
def submit(
    s: Served,
    image: str,
    label: Annotated[UploadFile, File()],
    tag: str = FINAL,
    params: Annotated[str, Form()] = "{}",
) -> dict[str, Any]:
    """Stores a label, after checking it against its image and, if it is named, against a model's label values."""
    check_new("label tag", tag or FINAL)
    info = client_info(params, "params")
    values = _known_values(s, info)
    grid = check_file(s.datastore.image_path(image), Limits(pictures=True))
    with received(label, s.config.temporary, "label") as path:
        found = read_label(path, values, like=grid)
        voxels = _count(found)
        replaced = _store(s, path, Volume(found.array, grid.affine), image, tag or FINAL, info)
    return {"image": image, "label": image, "medgan": {"voxels": voxels, "replaced": replaced}}


def _known_values(s: Services, info: dict[str, Any]) -> list[int] | None:
    if not info.get("model"):
        return None
    return list(s.model(str(info["model"])).spec.labels.values())


def _count(label: Volume) -> dict[str, int]:
    values, counts = np.unique(label.array, return_counts=True)
    return {str(v): int(n) for v, n in zip(values, counts, strict=True) if v}


def _store(s: Services, sent: Path, label: Volume, image: str, tag: str, info: dict[str, Any]) -> bool:
    """Stores the label as NIfTI of our own making: nothing else that its file may carry is kept."""
    clean = sent.with_name("clean.nii.gz")
    write_volume(clean, label)
    with s.datastore.transaction():
        replaced = image in s.datastore.get_labeled_images(tag)
        s.datastore.save_label(image, str(clean), tag, info)
    return replaced


@router.delete("")
def remove(s: Served, id: str, tag: str) -> dict[str, Any]:
    """Removes a label; it stays as a backup in the data folder."""
    s.datastore.remove_label(id, tag)
    return {}


@router.head("")
def has_label(s: Served, image: str, tag: str) -> Response:
    """Tells whether a label exists."""
    s.datastore.label_path(image, tag)
    return Response()


@router.get("")
def download(s: Served, label: str, tag: str) -> FileResponse:
    """A label's file."""
    path = s.datastore.label_path(label, tag)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/info")
def label_info(s: Served, label: str, tag: str) -> dict[str, Any]:
    """What is known of a label."""
    return s.datastore.get_label_info(label, tag)


@router.put("/info")
def update_label_info(s: Served, label: str, tag: str, info: Annotated[str, Form()] = "{}") -> dict[str, Any]:
    """Adds to what is known of a label."""
    s.datastore.update_label_info(label, tag, client_info(info))
    return {}

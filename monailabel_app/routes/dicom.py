"""Results as DICOM: a label as DICOM-SEG, an image as a derived series; stored in the archive or downloaded."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse

from monailabel_app.datastore import FINAL
from monailabel_app.dicom import export as exports
from monailabel_app.dicom.export import Exporter, Options
from monailabel_app.dicom.web import Archive
from monailabel_app.errors import MedGANError
from monailabel_app.routes.params import answers, json_object
from monailabel_app.services import Served, Services
from monailabel_app.uploads import received
from monailabel_app.users import Caller, host_of

router = APIRouter(prefix="/dicom", tags=["dicom"])
BLOCK = 1 << 20


@router.post("/export", response_class=Response, responses=answers("application/json", "application/zip"))
def export(
    request: Request,
    s: Served,
    user: Caller,
    image: str,
    tag: str = "",
    download: bool = False,
    deidentify: bool | None = None,
    burned_in: bool = False,
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Exports the label of a study or, with the part `file`, an image that a model made of it.

    It is stored in the archive unless `download` is set. `deidentify` is by default what `download` is; a
    download that names the patient is for administrators.
    """
    if file is not None and tag:
        raise MedGANError("bad_request", "Ask for a label (tag) or send an image (file), not both.")
    hidden = download if deidentify is None else deidentify
    if download and not hidden and not user.admin:
        raise MedGANError("admin_required", "Only an administrator may download what names the patient.")
    options, told = Options(hidden, burned_in), json_object(params)
    exporter = _exporter(s)
    client = (user.subject or host_of(request),)
    with s.jobs.run("dicom_export", owner=user.subject, client=client), ExitStack() as stack:
        files = stack.enter_context(_made(exporter, s, stack, image, tag, file, told, options))
        if not download:
            return JSONResponse(exporter.send(files))
        return _zip(exports.pack(files, s.config.temporary / f"{uuid.uuid4().hex}.zip"), exports.described(files))


def _made(
    exporter: Exporter,
    s: Services,
    stack: ExitStack,
    image: str,
    tag: str,
    file: Any,
    told: dict[str, Any],
    options: Options,
) -> AbstractContextManager[list[Path]]:
    if file is None:
        return exporter.label(image, tag or FINAL, options)
    path = stack.enter_context(received(file, s.config.temporary))
    return exporter.image(image, path, told, options)


def _exporter(s: Services) -> Exporter:
    archive = Archive.of(s.config.dicomweb) if s.config.dicomweb else None
    return Exporter(s.datastore, s.config.data, s.config.temporary, s.registry, archive)


def _zip(path: Path, told: dict[str, Any]) -> Response:
    """The zip as the answer's body; it is removed when it is sent or the client hangs up."""
    headers = {
        "Content-Disposition": f'attachment; filename="{told["modality"].lower()}-{uuid.uuid4().hex[:8]}.zip"',
        "Content-Length": str(path.stat().st_size),
        "X-MedGAN-Deidentified": str(told["deidentified"]).lower(),
    }
    return StreamingResponse(_blocks(path), media_type="application/zip", headers=headers)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block
    finally:
        path.unlink(missing_ok=True)

"""Results as DICOM: a label as DICOM-SEG, an image as a derived series; stored in the archive or downloaded."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from monailabel_app.datastore import FINAL
from monailabel_app.dicom import export as exports
from monailabel_app.dicom.export import Exporter, Options
from monailabel_app.dicom.web import Archive
from monailabel_app.errors import MedGANError
from monailabel_app.names import check_new
from monailabel_app.routes.params import answers, json_object
from monailabel_app.routes.sending import SentFile, hung_up
from monailabel_app.services import Served, Services
from monailabel_app.uploads import received
from monailabel_app.users import Caller, host_of
from trainers.monitor import Monitor

router = APIRouter(prefix="/dicom", tags=["dicom"])


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
    download that names the patient is for administrators. `job_id` in `params` names the job, which can be asked about
    and cancelled as an inference is, until its files are made; so does a client that hangs up.
    """
    if file is not None and tag:
        raise MedGANError("bad_request", "Ask for a label (tag) or send an image (file), not both.")
    hidden = download if deidentify is None else deidentify
    if download and not hidden and not user.admin:
        raise MedGANError("admin_required", "Only an administrator may download what names the patient.")
    options, told = Options(hidden, burned_in), json_object(params)
    job_id = check_new("job id", str(told["job_id"])) if told.get("job_id") else ""
    client = (user.subject or host_of(request),)
    with ExitStack() as stack:
        with s.jobs.run("dicom_export", job_id, hung_up(request), user.subject, client) as job:
            exporter = _exporter(s, job)
            files = stack.enter_context(_made(exporter, s, stack, image, tag, file, told, options))
            bundle = exports.pack(files, files[0].with_name("bundle.zip"), job) if download else None
        if bundle is None:  # nothing cancels this: the archive gets all or nothing, and the client is told which
            return JSONResponse(exporter.send(files))
        return _zip(bundle.rename(s.config.temporary / f"{uuid.uuid4().hex}.zip"), exports.described(files))


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


def _exporter(s: Services, monitor: Monitor) -> Exporter:
    archive = Archive.of(s.config.dicomweb) if s.config.dicomweb else None
    return Exporter(s.datastore, s.config.data, s.config.temporary, s.registry, archive, monitor)


def _zip(path: Path, told: dict[str, Any]) -> Response:
    """The zip as the answer's body; it is removed when it is sent or the client hangs up."""
    headers = {
        "Content-Disposition": f'attachment; filename="{told["modality"].lower()}-{uuid.uuid4().hex[:8]}.zip"',
        "X-MedGAN-Deidentified": str(told["deidentified"]).lower(),
    }
    return SentFile(path, "application/zip", headers)

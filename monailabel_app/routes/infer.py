"""Inference: images, a label map or nothing in; a result file and its description out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile as FormFile
from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from monailabel_app.config import LOOPBACK
from monailabel_app.errors import MedGANError, choices
from monailabel_app.infers.base import ModelInfer
from monailabel_app.jobs import Job
from monailabel_app.metrics import Measured, Metrics
from monailabel_app.names import check_new
from monailabel_app.routes.params import LONGEST_NAME, answers, json_object
from monailabel_app.routes.sending import SentFile, hung_up
from monailabel_app.services import Served, Services
from monailabel_app.uploads import received
from monailabel_app.users import Caller, host_of

router = APIRouter(tags=["inference"])
Output = Literal["image", "json", "all"]
MIME = {".nii.gz": "application/gzip", ".nrrd": "application/octet-stream", ".zip": "application/zip"}
FILES = ("image", "label")  # of a request; params can have no such keys, which would be paths on the server
ANSWERS = ("multipart/form-data", "application/json", *MIME.values())
PARTS = ("file", "label")  # of a request's form that have files, beside those of further inputs
NO_IMAGE = "none"
Source = Callable[[], AbstractContextManager[Path]]


async def sent_files(request: Request) -> dict[str, FormFile]:
    """The files of a request's form by the names of their parts."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, FormFile)}


@router.post("/infer/{model}", response_class=Response, responses=answers(*ANSWERS))
def infer(
    request: Request,
    s: Served,
    user: Caller,
    measured: Measured,
    model: str,
    files: Annotated[dict[str, FormFile], Depends(sent_files)],
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: Output = "all",
) -> Response:
    """Runs a model on studies, on a session's image or on files that are sent; or, if it makes images, on none.

    The first image is `image`, `session_id` or the part `file`. Further ones have the names of the model's inputs: a
    study's id in `params`, or a part of that name.
    """
    task, told = s.model(model), json_object(params)
    sources = {
        "image": _image(s, task, image, session_id, file),
        "label": _upload(s, task, label, "label"),
        **_further(s, task, told, files),
    }
    wanted = {key: value for key, value in told.items() if key not in {*FILES, *task.reads}}
    options, _ = task.options(wanted)
    job_id = check_new("job id", str(wanted["job_id"])) if wanted.get("job_id") else ""
    task.check_sent([name for name, source in sources.items() if source], options)
    with _opened({name: source for name, source in sources.items() if source and name in task.reads}) as paths:
        for name, path in paths.items():
            task.check_file(name, path)
        client = (user.subject or host_of(request), str(told.get("client_id") or "")[:LONGEST_NAME])
        turn = s.jobs.run(model, job_id, hung_up(request), user.subject, client)
        result, about = _result(turn, task, {**wanted, **paths, "near": host_of(request) in LOOPBACK}, measured)
    return _answer(result, about, output)


def _result(
    turn: AbstractContextManager[Job], task: ModelInfer, asked: Mapping[str, Any], measured: Metrics
) -> tuple[Path, dict[str, Any]]:
    """What the model gives when its turn comes. If the job is cancelled while the file is written, nobody takes it."""
    with ExitStack() as stack:
        with turn as job, measured.inference(task.model):
            file, about = task({**asked, "monitor": job})
            stack.callback(Path(file).unlink, missing_ok=True)
        stack.pop_all()
    return Path(file), about


def _image(s: Services, task: ModelInfer, image: str, session: str, file: UploadFile | None) -> Source | None:
    """Where the request's image is; `image=none` is how stock clients say that there is none."""
    if session:
        return lambda: nullcontext(s.sessions.image(session))
    if file is not None:
        return _upload(s, task, file, "image")
    if image and ("image" in task.reads or image.lower() != NO_IMAGE):
        return lambda: nullcontext(s.datastore.image_path(image))
    return None


def _further(
    s: Services, task: ModelInfer, told: Mapping[str, Any], files: Mapping[str, FormFile]
) -> dict[str, Source | None]:
    """Where the images of further inputs are.

    Raises:
        MedGANError: `bad_request`, for a file that the model does not read, or an id that is none.
    """
    names = [name for name in task.reads if name not in FILES]
    others = {name for other in s.app.infers.values() for name in other.reads} - {*FILES, *names}
    strange = [*(set(files) - {*PARTS, *names}), *((others - set(task.schema()["properties"])) & set(told))]
    if strange:
        hint = f"Its images are: {choices(['image (the part file)', *names])}." if task.reads else ""
        raise MedGANError("bad_request", f"{task.model} has no input {sorted(strange)[0][:80]!r}.", hint)
    return {name: _upload(s, task, files[name], name) if name in files else _study(s, told, name) for name in names}


def _study(s: Services, told: Mapping[str, Any], name: str) -> Source | None:
    """The study that `params` name for an input."""
    study = told.get(name)
    if study is None or study == "":
        return None
    if not isinstance(study, str):
        raise MedGANError("bad_request", f"{name!r} must be a study's id, not {str(study)[:60]!r}.")
    return lambda: nullcontext(s.datastore.image_path(study))


def _upload(s: Services, task: ModelInfer, file: FormFile | None, name: str) -> Source | None:
    return None if file is None else lambda: received(file, s.config.temporary, name, task.suffixes(name))


@contextmanager
def _opened(sources: Mapping[str, Source]) -> Iterator[dict[str, Path]]:
    """The files of a request by name, until the body is done."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(source()) for name, source in sources.items()}


def _answer(result: Path, about: Mapping[str, Any], output: Output) -> Response:
    if output == "json":
        result.unlink(missing_ok=True)
        return JSONResponse(dict(about))
    extension = "".join(result.suffixes)
    name = f"{about['model']}-{uuid.uuid4().hex[:8]}{extension}"
    if output == "image":
        return SentFile(result, MIME[extension], {"Content-Disposition": f'attachment; filename="{name}"'})
    return _multipart(result, about, name, MIME[extension])


def _multipart(result: Path, about: Mapping[str, Any], name: str, kind: str) -> Response:
    """Params and file; the file goes from the disk to the network block by block, past the encoder of forms."""
    boundary = uuid.uuid4().hex
    params, image = RequestField("params", json.dumps(about)), RequestField.from_tuples("image", (name, b"", kind))
    params.make_multipart(content_type="application/json")
    form, content_type = encode_multipart_formdata([params, image], boundary)
    end = f"\r\n--{boundary}--\r\n".encode()
    return SentFile(result, content_type, head=form.removesuffix(end), end=end)

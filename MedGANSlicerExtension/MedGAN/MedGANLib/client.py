"""The server's interface (docs/api.md) as Python calls. Standard library only; safe in worker threads."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union
from urllib.parse import quote

from .address import parse_address
from .cancel import CancelToken
from .downloads import cached_name, is_intact, verify
from .errors import Cancelled, MedGANError, NotAMedGANServer, NotFound, ServerTooOld
from .multipart import JsonBody, MultipartBody
from .records import (
    ConnectionReport,
    InferResult,
    JobStatus,
    ModelInfo,
    Sample,
    ServerInfo,
    SubmitReceipt,
    TrainingStatus,
    VersionList,
)
from .results import receive_result
from .running import RunningJob
from .transport import Progress, Request, Transport, save_blocks
from .verdicts import MarkedStudies

PathLike = Union[str, Path]
TIMEOUT, INFER_TIMEOUT = 30.0, 900.0
"""Seconds without any data after which an ordinary call, and a run of a model, fails."""
OLDEST_SERVER = "0.1"
"""The oldest MedGAN server that this client can work with."""
DEADLINES = 2
"""A call with a JSON answer may last this many time-outs altogether, however slowly data drips."""


class MedGANClient:
    """A MedGAN server (or, as far as it goes, a stock MONAI Label server) at an address.

    Every method blocks, may be called from any thread, raises the exceptions of `errors` only, and takes a
    `CancelToken` that ends it within a second in any phase.

    Attributes:
        address: The address in use, for example `http://127.0.0.1:8000`.
        notes: What was changed in the address given (scheme added, 0.0.0.0 replaced …).
        client_id: The name under which this client asks for studies.
    """

    def __init__(
        self,
        url: str,
        token: Optional[str] = None,
        timeout: float = TIMEOUT,
        client_id: Optional[str] = None,
        ca_file: Optional[PathLike] = None,
        *,
        connect_timeout: float = 5.0,
        infer_timeout: float = INFER_TIMEOUT,
        cache_dir: Optional[PathLike] = None,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            url: Address; scheme and trailing slash are optional.
            token: Access token, sent as `Authorization: Bearer`.
            timeout: Seconds without any data after which an ordinary call fails.
            client_id: Name of this client; by default a random one.
            ca_file: PEM file of the authority that signed the server's certificate; the system's by default.
            connect_timeout: Seconds in which a connection must be made.
            infer_timeout: Seconds without any data after which a run of a model fails.
            cache_dir: Folder for downloaded studies; by default a private temporary folder.

        Raises:
            BadAddress: `url` is not an address.
        """
        self._address = parse_address(url)
        self._transport = Transport(self._address, token, connect_timeout, str(ca_file) if ca_file else None)
        self._timeout = timeout
        self._infer_timeout = infer_timeout
        self._cache = Path(cache_dir) if cache_dir else None
        self.address = str(self._address)
        self.notes = self._address.notes
        self.client_id = client_id or f"slicer-{secrets.token_hex(4)}"

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this computer."""
        return self._address.local

    def check_connection(self, cancel: Optional[CancelToken] = None) -> ConnectionReport:
        """Try the server and say what is wrong; never raises for a server that cannot be used."""
        try:
            info = self.info(cancel)
        except Cancelled:
            raise
        except MedGANError as error:
            return _failed_report(error, self.notes)
        return _report(info, self.address, self.notes)

    def info(self, cancel: Optional[CancelToken] = None) -> ServerInfo:
        """Return what the server is and offers."""
        try:
            return ServerInfo.from_json(self._json("GET", "/info/", cancel=cancel))
        except (NotFound, KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAMedGANServer(
                "A web server answered, but it is not a MedGAN server.", "Check the address and the port."
            ) from error

    def health(self, cancel: Optional[CancelToken] = None) -> str:
        """Return the server's MedGAN version; needs no token."""
        return str(self._json("GET", "/health", cancel=cancel).get("version") or "")

    def models(self, cancel: Optional[CancelToken] = None) -> Tuple[ModelInfo, ...]:
        """Return the server's models."""
        return self.info(cancel).models

    def infer(
        self,
        model: str,
        out_dir: PathLike,
        *,
        image_id: str = "",
        file: Optional[PathLike] = None,
        label: Optional[PathLike] = None,
        inputs: Optional[Mapping[str, PathLike]] = None,
        options: Optional[Mapping[str, Any]] = None,
        job_id: Optional[str] = None,
        result_extension: Optional[str] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> InferResult:
        """Run a model on a study of the server (`image_id`) or on a volume file sent along (`file`), or on neither.

        Args:
            model: The model's name.
            out_dir: Folder for the result's files.
            image_id: Study at the server.
            file: Volume to send in place of `image_id`.
            label: Label map to send along: the shape that a synthesis model fills.
            inputs: Volumes to send for further inputs, by the model's names for them.
            options: The model's options; and, by name, the studies of the server that are its further inputs.
            job_id: Name of the job at the server; by default a random one.
            result_extension: `.nii.gz`, `.nrrd` or `.zip` (bundle); by default the server chooses.
            progress: Called while sending, running and receiving.
            cancel: Ends the call, and the job at the server too.
        """
        job, sent = job_id or secrets.token_hex(8), {"file": file, "label": label, **(inputs or {})}
        files = {name: Path(path) for name, path in sent.items() if path}
        body = MultipartBody({"params": json.dumps(self._params(options, job, result_extension))}, files)
        request = self._request("POST", f"/infer/{quote(model, safe='')}", body=body, cancel=cancel)
        request.query = {"image": image_id} if image_id else {}
        request.timeout, request.deadline = self._infer_timeout, None
        with RunningJob(self, job, request, progress) as running, self._transport.exchange(request) as reply:
            running.answered()
            return receive_result(reply, model, Path(out_dir), running.receiving)

    def job(self, job_id: str, cancel: Optional[CancelToken] = None) -> JobStatus:
        """Return the state of a running inference."""
        return JobStatus.from_json(self._json("GET", f"/jobs/{quote(job_id, safe='')}", cancel=cancel))

    def cancel_job(self, job_id: str) -> None:
        """Cancel a running inference at the server."""
        self._json("DELETE", f"/jobs/{quote(job_id, safe='')}")

    def next_sample(self, strategy: str = "random", cancel: Optional[CancelToken] = None) -> Sample:
        """Ask which study to label next; raises `NotFound` with code `nothing_to_label` when all are labelled.

        Args:
            strategy: One of `ServerInfo.strategies`.
            cancel: Ends the call.
        """
        path = f"/activelearning/{quote(strategy or 'random', safe='')}"
        answer = self._json("POST", path, {"client_id": self.client_id}, cancel=cancel)
        if not answer.get("id"):
            raise NotFound("Every study is labelled.", "Add studies to the server.", code="nothing_to_label")
        return Sample.from_json(answer)

    def download_image(
        self, sample: Sample, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None
    ) -> Path:
        """Fetch a study's file, verified by its checksum, from the cache when it is there already."""
        path = self._cache_dir() / cached_name(sample)
        if is_intact(path, sample.checksum):
            return path
        request = self._request("GET", "/datastore/image", cancel=cancel)
        request.query, request.deadline = {"image": sample.id}, None
        with self._transport.exchange(request) as reply:
            save_blocks(reply.blocks(_phase(progress, "Receiving the study")), path)
        verify(path, sample.checksum)
        return path

    def upload_image(
        self,
        file: PathLike,
        image_id: str,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
        params: Optional[Mapping[str, Any]] = None,
    ) -> str:
        """Add a volume to the server's studies; return its id. An id already taken raises `Conflict`.

        Args:
            file: The volume.
            image_id: Its id at the server.
            progress: Called while sending.
            cancel: Ends the call.
            params: What the server shall know of it; see `marks.upload_params`.
        """
        body = MultipartBody({"params": json.dumps(dict(params or {}))}, {"file": Path(file)})
        request = self._request("PUT", "/datastore/image", body=body)
        request.query, request.deadline, request.cancel = {"image": image_id}, None, cancel
        request.on_sent = _phase(progress, "Sending the volume")
        return str(self._transport.json(request).get("image") or image_id)

    def submit_label(
        self,
        image_id: str,
        label_file: PathLike,
        *,
        model: str = "",
        tag: str = "final",
        label_info: Optional[list] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> SubmitReceipt:
        """Store a corrected label for a study; checked by the server against `model`'s labels when that is given."""
        params = {"client_id": self.client_id, "label_info": label_info or [], **({"model": model} if model else {})}
        body = MultipartBody({"params": json.dumps(params)}, {"label": Path(label_file)})
        request = self._request("PUT", "/datastore/label", body=body, cancel=cancel)
        request.query, request.deadline = {"image": image_id, "tag": tag}, None
        request.on_sent = _phase(progress, "Sending the label")
        return SubmitReceipt.from_json(self._transport.json(request))

    def mark(self, model: str, image_id: str, verdict: str, cancel: Optional[CancelToken] = None) -> Mapping[str, Any]:
        """Call a study `normal` or `abnormal` for an anomaly model, or take that back with an empty `verdict`.

        Returns:
            `image`, `verdict`, and how many studies are marked now: `normal`, `abnormal`.
        """
        request = self._request("POST", f"/verdict/{quote(model, safe='')}", body=JsonBody({"verdict": verdict}))
        request.query, request.cancel = {"image": image_id}, cancel
        answer = self._transport.json(request)
        return answer if isinstance(answer, dict) else {}

    def marked(self, model: str, cancel: Optional[CancelToken] = None) -> MarkedStudies:
        """Return which studies are marked for an anomaly model."""
        return MarkedStudies.from_json(self._json("GET", f"/verdict/{quote(model, safe='')}", cancel=cancel))

    def train_start(
        self, model: str, settings: Optional[Mapping[str, Any]] = None, cancel: Optional[CancelToken] = None
    ) -> TrainingStatus:
        """Start training; raises `Busy` while a run goes on and `CannotProcess` when there are too few labels."""
        answer = self._json("POST", f"/train/{quote(model, safe='')}", dict(settings or {}), cancel=cancel)
        return TrainingStatus.from_json({"model": model, **answer})

    def train_status(self, cancel: Optional[CancelToken] = None) -> TrainingStatus:
        """Return the last or current run; `state` is `none` when nothing was ever trained."""
        try:
            return TrainingStatus.from_json(self._json("GET", "/train/", cancel=cancel))
        except NotFound:
            return TrainingStatus(state="none")

    def train_stop(self, cancel: Optional[CancelToken] = None) -> None:
        """Stop the training run; nothing of it is promoted."""
        self._json("DELETE", "/train/", cancel=cancel)

    def versions(self, model: str, cancel: Optional[CancelToken] = None) -> VersionList:
        """Return all versions of a model; raises `ServerTooOld` on a stock MONAI Label server."""
        try:
            answer = self._json("GET", f"/models/{quote(model, safe='')}/versions", cancel=cancel)
        except NotFound as error:
            raise _too_old_or(error) from error
        return VersionList.from_json(answer)

    def set_current_version(
        self, model: str, version: str, *, force: bool = False, cancel: Optional[CancelToken] = None
    ) -> VersionList:
        """Serve `version` from the next request on; a refused version raises `Conflict` unless `force`."""
        document = {"version": version, **({"force": True} if force else {})}
        self._json("PUT", f"/models/{quote(model, safe='')}/current", document, cancel=cancel)
        return self.versions(model, cancel)

    def _request(self, method: str, path: str, **more: Any) -> Request:
        return Request(method, path, timeout=self._timeout, deadline=DEADLINES * self._timeout, **more)

    def _json(self, method: str, path: str, document: Any = None, cancel: Optional[CancelToken] = None) -> Any:
        body = None if document is None else JsonBody(document)
        answer = self._transport.json(self._request(method, path, body=body, cancel=cancel))
        return answer if isinstance(answer, dict) else {}

    def _params(self, options: Optional[Mapping[str, Any]], job: str, extension: Optional[str]) -> Dict[str, Any]:
        asked = {"result_extension": extension} if extension else {}
        return {**(options or {}), **asked, "job_id": job, "client_id": self.client_id}

    def _cache_dir(self) -> Path:
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="medgan-studies-"))
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._cache


def _phase(progress: Optional[Progress], phrase: str) -> Callable[[float], None]:
    return lambda fraction: progress(fraction, phrase) if progress else None


def _too_old_or(error: NotFound) -> MedGANError:
    """Return `error`, unless it comes from a server that has no such route at all."""
    if error.id:
        return error
    return ServerTooOld("This server keeps no versions of its models.", "It is a MONAI Label server without MedGAN.")


def _failed_report(error: MedGANError, notes: Tuple[str, ...]) -> ConnectionReport:
    return ConnectionReport(False, error.code, error.message, error.hint, notes=notes)


def _report(info: ServerInfo, address: str, notes: Tuple[str, ...]) -> ConnectionReport:
    if not info.is_medgan:
        notes = (*notes, "This is a MONAI Label server without MedGAN: no versions, progress or verdicts.")
    elif _release(info.version) < _release(OLDEST_SERVER):
        message = f"The server's MedGAN {info.version} is older than this module needs ({OLDEST_SERVER})."
        return ConnectionReport(False, ServerTooOld.code, message, "Ask the administrator to update it.", info, notes)
    count = len(info.models)
    models = "1 model" if count == 1 else f"{count} models"
    return ConnectionReport(True, "ok", f"Connected to {address}: {models}, {info.studies} studies.", "", info, notes)


def _release(version: str) -> Tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])

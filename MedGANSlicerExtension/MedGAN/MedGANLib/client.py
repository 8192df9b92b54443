"""The server's interface (docs/api.md) as Python calls. Standard library only; safe in worker threads."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple
from urllib.parse import quote

from .calls import INFER_TIMEOUT, TIMEOUT, PathLike
from .cancel import CancelToken
from .dicom_calls import DicomCalls
from .downloads import cached_name, is_intact, verify
from .errors import Cancelled, MedGANError, NotAMedGANServer, NotFound, ServerTooOld
from .learning_calls import FINAL, LearningCalls
from .multipart import MultipartBody, suffix_of
from .records import (
    ConnectionReport,
    InferResult,
    ModelInfo,
    Sample,
    ServerInfo,
    SubmitReceipt,
)
from .results import receive_result
from .running import RunningJob
from .transport import Progress, save_blocks

__all__ = ["INFER_TIMEOUT", "TIMEOUT", "MedGANClient"]

OLDEST_SERVER = "0.1"
"""The oldest MedGAN server that this client can work with."""


class MedGANClient(DicomCalls, LearningCalls):
    """A MedGAN server (or, as far as it goes, a stock MONAI Label server) at an address.

    Every method blocks, may be called from any thread, raises the exceptions of `errors` only, and takes a
    `CancelToken` that ends it within a second in any phase.

    Attributes:
        address: The address in use, for example `http://127.0.0.1:8000`.
        notes: What was changed in the address given (scheme added, 0.0.0.0 replaced …).
        client_id: The name under which this client asks for studies.
    """

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
            if not suffix_of(sample.name):  # a study of the review list, of which only the id is known
                path = self._cache_dir() / cached_name(replace(sample, name=reply.filename))
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
        version: str = "",
        tag: str = FINAL,
        label_info: Optional[list] = None,
        author: str = "",
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> SubmitReceipt:
        """Store a corrected label for a study; checked by the server against `model`'s labels when that is given.

        For the label's history `version` is the model's whose answer was corrected, and `author` who corrected it;
        empty when that is not known, or not told.
        """
        params = {"client_id": self.client_id, "label_info": label_info or [], "author": author}
        params.update({key: text for key, text in (("model", model), ("version", version)) if text})
        body = MultipartBody({"params": json.dumps(params)}, {"label": Path(label_file)})
        request = self._request("PUT", "/datastore/label", body=body, cancel=cancel)
        request.query, request.deadline = {"image": image_id, "tag": tag}, None
        request.on_sent = _phase(progress, "Sending the label")
        return SubmitReceipt.from_json(self._transport.json(request))

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

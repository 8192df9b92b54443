"""The server's interface (docs/api.md) as Python calls. Standard library only; safe in worker threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Tuple, Union

from .cancel import CancelToken
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

PathLike = Union[str, Path]
Progress = Callable[[float, str], None]
"""Called with the fraction done in 0…1 (-1 when unknown) and a phrase such as "Sending the volume"."""


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
        timeout: float = 30.0,
        client_id: Optional[str] = None,
        ca_file: Optional[PathLike] = None,
        *,
        connect_timeout: float = 5.0,
        infer_timeout: float = 900.0,
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
        raise NotImplementedError

    def check_connection(self, cancel: Optional[CancelToken] = None) -> ConnectionReport:
        """Try the server and say what is wrong; never raises for a server that cannot be used."""
        raise NotImplementedError

    def info(self, cancel: Optional[CancelToken] = None) -> ServerInfo:
        """Return what the server is and offers."""
        raise NotImplementedError

    def health(self, cancel: Optional[CancelToken] = None) -> str:
        """Return the server's MedGAN version; needs no token."""
        raise NotImplementedError

    def models(self, cancel: Optional[CancelToken] = None) -> Tuple[ModelInfo, ...]:
        """Return the server's models."""
        raise NotImplementedError

    def infer(
        self,
        model: str,
        out_dir: PathLike,
        *,
        image_id: str = "",
        file: Optional[PathLike] = None,
        options: Optional[Mapping[str, Any]] = None,
        job_id: Optional[str] = None,
        result_extension: Optional[str] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> InferResult:
        """Run a model on a study of the server (`image_id`) or on a volume file sent along (`file`).

        Args:
            model: The model's name.
            out_dir: Folder for the result's files.
            image_id: Study at the server.
            file: Volume to send in place of `image_id`.
            options: The model's options.
            job_id: Name of the job at the server; by default a random one.
            result_extension: `.nii.gz`, `.nrrd` or `.zip` (bundle); by default the server chooses.
            progress: Called while sending, running and receiving.
            cancel: Ends the call, and the job at the server too.
        """
        raise NotImplementedError

    def job(self, job_id: str, cancel: Optional[CancelToken] = None) -> JobStatus:
        """Return the state of a running inference."""
        raise NotImplementedError

    def cancel_job(self, job_id: str) -> None:
        """Cancel a running inference at the server."""
        raise NotImplementedError

    def next_sample(self, strategy: str = "", cancel: Optional[CancelToken] = None) -> Sample:
        """Ask which study to label next; raises `NotFound` with code `nothing_to_label` when all are labelled.

        Args:
            strategy: One of `ServerInfo.strategies`; by default the first.
            cancel: Ends the call.
        """
        raise NotImplementedError

    def download_image(
        self, sample: Sample, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None
    ) -> Path:
        """Fetch a study's file, verified by its checksum, from the cache when it is there already."""
        raise NotImplementedError

    def upload_image(
        self,
        file: PathLike,
        image_id: str,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> str:
        """Add a volume to the server's studies; return its id. An id already taken raises `Conflict`."""
        raise NotImplementedError

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
        raise NotImplementedError

    def train_start(
        self, model: str, settings: Optional[Mapping[str, Any]] = None, cancel: Optional[CancelToken] = None
    ) -> TrainingStatus:
        """Start training; raises `Busy` while a run goes on and `CannotProcess` when there are too few labels."""
        raise NotImplementedError

    def train_status(self, cancel: Optional[CancelToken] = None) -> TrainingStatus:
        """Return the last or current run; `state` is `none` when nothing was ever trained."""
        raise NotImplementedError

    def train_stop(self, cancel: Optional[CancelToken] = None) -> None:
        """Stop the training run; nothing of it is promoted."""
        raise NotImplementedError

    def versions(self, model: str, cancel: Optional[CancelToken] = None) -> VersionList:
        """Return all versions of a model; raises `ServerTooOld` on a stock MONAI Label server."""
        raise NotImplementedError

    def set_current_version(
        self, model: str, version: str, *, force: bool = False, cancel: Optional[CancelToken] = None
    ) -> VersionList:
        """Serve `version` from the next request on; a refused version raises `Conflict` unless `force`."""
        raise NotImplementedError

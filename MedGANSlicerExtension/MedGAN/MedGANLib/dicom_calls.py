"""The calls of the client that give results back as DICOM, and how what was downloaded is put into a folder."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Tuple

from .calls import PathLike, ServerCalls, too_old_or
from .cancel import CancelToken
from .errors import Cancelled, Disconnected, MedGANError, StorageProblem
from .learning_calls import FINAL
from .multipart import BLOCK, MultipartBody
from .running import RunningJob
from .transport import Progress, Reply, save_blocks

MEMBER = re.compile(r"([A-Z]{2,4})/\d{5,}\.dcm")
"""A file in the zip that the server sends: its modality is its folder."""
MOST_BYTES = 2 * 1024**3
"""Bytes that one unpacked DICOM file may have."""
NO_EXPORT = "This server gives no DICOM back."
MAKING = "Making DICOM"
MAY_BE_STORED = "If storing had begun, the archive has it: look there before you send it again."


@dataclass(frozen=True)
class Result:
    """What is exported: the final label of a study, or an image that a model made of it.

    Attributes:
        study: The study's id at the server.
        image: File of the image; None for the label.
        model, version: Who made the image.
        no_text: Whether somebody looked and saw no text in the voxels.
    """

    study: str
    image: Optional[Path] = None
    model: str = ""
    version: str = ""
    no_text: bool = False


@dataclass(frozen=True)
class Exported:
    """What became of it: the series' description and how many files; `folder` is empty when it is in the archive."""

    description: str
    instances: int
    deidentified: bool
    folder: str = ""


class DicomCalls(ServerCalls):
    """Results as DICOM: downloaded without the patient's name, or stored in the server's archive."""

    def send_dicom(
        self, result: Result, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None
    ) -> Exported:
        """Store a result in the archive that the server has, as a new series of the patient's study.

        Raises:
            Cancelled: It was cancelled. The archive has nothing of it or, when storing had begun, all of it.
        """
        try:
            with self._export(result, {}, progress, cancel) as (reply, _):
                answer = reply.json()
        except Cancelled as error:
            raise Cancelled(error.message, MAY_BE_STORED) from error
        told = answer if isinstance(answer, Mapping) else {}
        count, hidden = int(told.get("instances") or 0), bool(told.get("deidentified"))
        return Exported(str(told.get("description") or ""), count, hidden)

    def save_dicom(
        self,
        result: Result,
        folder: PathLike,
        work_dir: PathLike,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Exported:
        """Download a result, de-identified, into a new folder below `folder`; it is whole or not there.

        Args:
            result: What is exported.
            folder: Where the new folder is made.
            work_dir: Private folder for the file in transit.
            progress: Called while the server works, and while receiving.
            cancel: Ends the call, and the server's work too.
        """
        bundle = Path(work_dir) / f"{secrets.token_hex(8)}.zip"
        try:
            with self._export(result, {"download": "true"}, progress, cancel) as (reply, running):
                save_blocks(reply.blocks(running.receiving), bundle)
            return unpack_dicom(bundle, Path(folder))
        finally:
            bundle.unlink(missing_ok=True)

    @contextmanager
    def _export(
        self, result: Result, query: Dict[str, str], progress: Optional[Progress], cancel: Optional[CancelToken]
    ) -> Iterator[Tuple[Reply, RunningJob]]:
        """Ask for an export, under a name by which it is followed and cancelled at the server."""
        job = secrets.token_hex(8)
        maker = {"model": result.model, "version": result.version} if result.image else {}
        files = {"file": result.image} if result.image else {}
        body = MultipartBody({"params": json.dumps({**maker, "job_id": job})}, files)
        request = self._request("POST", "/dicom/export", body=body, cancel=cancel)
        tag = {} if result.image else {"tag": FINAL}
        looked = {"burned_in": "true"} if result.no_text else {}
        request.query = {"image": result.study, **tag, **looked, **query}
        request.timeout, request.deadline = self._infer_timeout, None
        following = RunningJob(self, job, request, progress, MAKING)
        try:
            with following as running, self._transport.exchange(request) as reply:
                running.answered()
                yield reply, running
        except MedGANError as error:
            raise too_old_or(error, NO_EXPORT) from error


def unpack_dicom(bundle: Path, folder: Path) -> Exported:
    """Unpack the server's zip into a new folder, under names of our own.

    Raises:
        Disconnected: It is damaged, or holds something else.
        StorageProblem: The folder cannot be written to.
    """
    partial = folder / f".medgan-{secrets.token_hex(8)}.part"
    try:
        with zipfile.ZipFile(bundle) as archive:
            members = archive.infolist()
            kinds = {_kind(member) for member in members}
            if len(kinds) != 1:
                raise Disconnected("What the server sent holds no DICOM series.", "Try again.")
            partial.mkdir()
            for number, member in enumerate(members, start=1):
                with archive.open(member) as source, (partial / f"{number:05d}.dcm").open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
        kind = kinds.pop()
        place = _new_folder(folder, kind)
        partial.rename(place)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Disconnected("The DICOM files arrived damaged.", "Try again.") from error
    except OSError as error:
        raise StorageProblem(
            "The folder cannot be written to.", "Choose another folder, or free some space."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(f"DICOM {kind}", len(members), True, str(place))


def _kind(member: zipfile.ZipInfo) -> str:
    found = MEMBER.fullmatch(member.filename)
    if not found or member.file_size > MOST_BYTES:
        raise Disconnected("What the server sent holds something else than DICOM.", "Tell the administrator.")
    return found.group(1)


def _new_folder(folder: Path, kind: str) -> Path:
    """Return a name without any patient in it that nothing has yet."""
    name = f"MedGAN {kind} {time.strftime('%Y-%m-%d %H-%M-%S')}"
    names = (name, *(f"{name} ({number})" for number in range(2, 1000)))
    return next(folder / free for free in names if not (folder / free).exists())

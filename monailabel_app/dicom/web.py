"""An archive that speaks DICOMweb: QIDO-RS finds, WADO-RS fetches, STOW-RS stores. It fails in plain words."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from monailabel_app.config import LOOPBACK
from monailabel_app.dicom.provenance import Source
from monailabel_app.errors import MedGANError
from trainers.files import atomic_path

logger = logging.getLogger(__name__)

USER, PASSWORD, TOKEN = "MEDGAN_DICOMWEB_USER", "MEDGAN_DICOMWEB_PASSWORD", "MEDGAN_DICOMWEB_TOKEN"
LARGEST = 1 << 30  # bytes of one answer; an enhanced CT has half of it
BATCH = 32 << 20  # bytes that one STOW-RS request carries, unless one instance has more
PAGE = 1000
TIMEOUTS = (10.0, 120.0)  # seconds to connect, and between two pieces of an answer
RETRIES = Retry(
    total=3, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods=None, raise_on_status=False
)
FOUND = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A series in the archive."""

    study: str
    series: str
    modality: str


class Archive:
    """A DICOMweb server.

    Args:
        url: address of its service, e.g. `http://host:8042/dicom-web`; the administrator's, never a client's.
        user, password: for basic authentication. token: for an `Authorization: Bearer` instead.
        timeouts: seconds to connect, and between two pieces of an answer.
        retries: of requests that a busy archive refuses, or that break off.

    Raises:
        MedGANError: `bad_option`, for an address that cannot be one.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password: str = "",
        token: str = "",
        timeouts: tuple[float, float] = TIMEOUTS,
        retries: Retry = RETRIES,
    ) -> None:
        self.url = check_url(url)
        session = _Session(timeouts, retries)
        session.auth = (user, password) if user else None
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        if (user or token) and self.url.startswith("http:") and urlsplit(self.url).hostname not in LOOPBACK:
            logger.warning("The password for the archive is sent without encryption: use https.")
        self._client = DICOMwebClient(self.url, session=session, chunk_size=LARGEST)  # bodies are sent in one piece
        self._client.set_http_retry_params(retry=False)  # the session does it, also for connections that fail

    @classmethod
    def of(cls, url: str, env: Mapping[str, str] = os.environ) -> Archive:
        """The archive at `url`, with user, password or token from the environment."""
        user, password, token = (env.get(name, "") for name in (USER, PASSWORD, TOKEN))
        return cls(url, user, password, token)

    def find(self, query: Mapping[str, str], most: int) -> list[Found]:
        """Series that match a query, e.g. `{"Modality": "MR"}`.

        Raises:
            MedGANError: `too_large`, if there are more than `most`; `bad_option`, for a key that DICOM does not know.
        """
        unknown = [key for key in query if not pydicom.datadict.tag_for_keyword(key)]
        if unknown:
            raise MedGANError("bad_option", f"{unknown[0]!r} is no DICOM keyword.", "E.g. Modality=MR, PatientID=123.")
        search = self._client.search_for_series
        rows = self._pages(
            lambda **page: search(search_filters=dict(query), fields=list(FOUND), **page), FOUND[1], most
        )
        if len(rows) > most:
            raise MedGANError("too_large", f"More than {most} series match.", "Ask for less, or raise the limit.")
        return [_found(row) for row in rows]

    def instances(self, found: Found) -> list[str]:
        """SOP instance UIDs of a series."""
        search = self._client.search_for_instances
        rows = self._pages(lambda **page: search(found.study, found.series, **page), "SOPInstanceUID", 1 << 20)
        return [_text(row, "SOPInstanceUID") for row in rows]

    def fetch(self, found: Found, instance: str, path: Path) -> None:
        """Writes one instance to a file, in the transfer syntax that the archive has it in."""
        with _told(self.url):
            dataset = self._client.retrieve_instance(found.study, found.series, instance)
            with atomic_path(path) as temporary:
                pydicom.dcmwrite(temporary, dataset)

    def header(self, source: Source) -> Dataset:
        """What the archive tells of the first instance of a study's series."""
        ids = (source.series.StudyInstanceUID, source.series.SeriesInstanceUID, source.slices[0].SOPInstanceUID)
        with _told(self.url):
            told = self._client.retrieve_instance_metadata(*map(str, ids))
            return Dataset.from_json(told, bulk_data_uri_handler=lambda *_: None)

    def store(self, files: Sequence[Path]) -> None:
        """Stores DICOM files, a bounded number of bytes at a time; storing them again does no harm.

        Raises:
            MedGANError: `archive_refused`, naming how many were stored.
        """
        done = 0
        for batch in _batches(files):
            with _told(self.url, f"{done} of {len(files)} instances were stored before."):
                answer = self._client.store_instances([pydicom.dcmread(file) for file in batch])
                failed = answer.get("FailedSOPSequence") or []
            if failed:
                reason = f"{int(failed[0].get('FailureReason') or 0):04X}"
                kept = done + len(batch) - len(failed)
                raise MedGANError("archive_refused", f"The archive stored {kept} of {len(files)}; reason {reason}.")
            done += len(batch)

    def _pages(self, search: Callable[..., list[Row]], key: str, most: int) -> list[Row]:
        """All rows, page by page; an archive that does not know pages sends the same rows again."""
        rows: dict[str, Row] = {}
        while len(rows) <= most:
            with _told(self.url):
                page = search(offset=len(rows), limit=PAGE)
                fresh = {_text(row, key): row for row in page if _text(row, key) not in rows}
            if not fresh:
                break
            rows.update(fresh)
        return list(rows.values())


class _Session(requests.Session):
    """A session that never waits for ever, tries again, and reads no answer that is too large."""

    def __init__(self, timeouts: tuple[float, float], retries: Retry) -> None:
        super().__init__()
        self._timeouts = timeouts
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retries))
        self.hooks["response"].append(_refuse_large)

    def request(self, method: Any, url: Any, *args: Any, **more: Any) -> requests.Response:
        """As requests does, with time-outs."""
        more.setdefault("timeout", self._timeouts)
        return super().request(method, url, *args, **more)


def check_url(url: str) -> str:
    """The address without a last slash. Raises MedGANError `bad_option`; a password in it would come into logs."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MedGANError("bad_option", "The archive's address must be like http://host:8042/dicom-web.")
    if parts.username or parts.password:
        hint = f"Set {USER} and {PASSWORD} in the environment."
        raise MedGANError("bad_option", "The archive's address must not hold a user or password.", hint)
    return url.strip().rstrip("/")


def _refuse_large(response: requests.Response, *_args: Any, **_more: Any) -> None:
    if int(response.headers.get("Content-Length") or 0) > LARGEST:
        response.close()
        raise MedGANError("too_large", f"The archive's answer has more than {LARGEST >> 20} MB.")


@contextmanager
def _told(url: str, more: str = "") -> Iterator[None]:
    """Turns what goes wrong with an archive into a MedGANError; no UID and no name of a patient is in its text."""
    host = urlsplit(url).netloc
    try:
        yield
    except requests.HTTPError as error:
        raise _status(host, error.response.status_code if error.response is not None else 0, more) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.RetryError) as error:
        hint = "Check --dicomweb and the network, and that the archive runs."
        raise MedGANError(
            "archive_unavailable", f"The archive at {host} does not answer. {more}".strip(), hint
        ) from error
    except (requests.RequestException, ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as error:
        hint = "The address must be that of its DICOMweb service, e.g. …/dicom-web."
        raise MedGANError("archive_refused", f"{host} gave no DICOMweb answer. {more}".strip(), hint) from error


def _status(host: str, status: int, more: str) -> MedGANError:
    if status in (401, 403):
        hint = f"Set {USER} and {PASSWORD}, or {TOKEN}, in the server's environment."
        return MedGANError(
            "archive_refused", f"The archive at {host} refuses this user ({status}). {more}".strip(), hint
        )
    if status in (404, 410):
        hint = "Check --dicomweb, and that the series is still there."
        return MedGANError(
            "archive_refused", f"The archive at {host} has no such thing ({status}). {more}".strip(), hint
        )
    code = "archive_unavailable" if status in (429, 502, 503, 504) else "archive_refused"
    return MedGANError(code, f"The archive at {host} answered with status {status}. {more}".strip(), "See its log.")


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for file in files:
        length = file.stat().st_size
        if batch and size + length > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += length
    if batch:
        yield batch


def _found(row: Row) -> Found:
    return Found(*(_text(row, key) for key in FOUND[:3]))


def _text(row: Row, keyword: str) -> str:
    """A value in DICOM JSON; empty if it is not there."""
    values = row.get(f"{pydicom.datadict.tag_for_keyword(keyword):08X}", {}).get("Value") or [""]
    return str(values[0])

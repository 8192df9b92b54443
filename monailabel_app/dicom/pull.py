"""Studies from an archive: find series, fetch them one instance after the other, make studies of them."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from monailabel_app.config import ServerConfig
from monailabel_app.dicom.provenance import FOLDER
from monailabel_app.dicom.series import Place, add_series, check_modality, sorted_files, study_name
from monailabel_app.dicom.web import Archive, Found
from monailabel_app.errors import MedGANError

logger = logging.getLogger(__name__)

INCOMING = "incoming-"
MOST = 200  # series in one go
Report = Callable[[str, int, int], None]


@dataclass
class Pulled:
    """What became of the series that were found.

    Attributes:
        new, known: ids of studies. refused: why others are none, by series UID.
    """

    new: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def pull(
    config: ServerConfig,
    archive: Archive,
    query: Mapping[str, str],
    series: Sequence[str] = (),
    most: int = MOST,
    report: Report = lambda *_: None,
) -> Pulled:
    """Makes studies of the series that match a query, or have these UIDs. Those that are known are not fetched again.

    Args:
        config: the server's; its folders.
        archive: where from.
        query: DICOM keywords and values; applies to all series.
        series: UIDs; if there are some, only those.
        most: more series than this are refused.
        report: hears the study's id, the number of instances fetched, and of all.

    Raises:
        MedGANError: `busy`, if another pull goes on; `unknown_image`, for a UID that the archive does not have; and as
            the archive raises. One series that is no volume does not stop the others.
    """
    queries = [{**query, "SeriesInstanceUID": uid} for uid in series] or [dict(query)]
    if not any(queries):
        raise MedGANError("bad_request", "Tell which series.", "Give --series UID or --query Modality=MR.")
    pulled = Pulled()
    with _alone(config.data):
        for asked in queries:
            found = archive.find(asked, most)
            if not found and series:
                raise MedGANError("unknown_image", f"The archive has no series {asked['SeriesInstanceUID']}.")
            for one in found:
                _take(one, archive, config, pulled, report, by_name=bool(series))
    return pulled


def follow(config: ServerConfig) -> None:
    """Pulls, beside a server that starts, what its query matches; a failure is logged and does not stop the server."""
    if config.dicomweb and config.dicomweb_query:
        threading.Thread(target=_follow, args=(config,), daemon=True, name="pull").start()


def _follow(config: ServerConfig) -> None:
    try:
        pulled = pull(config, Archive.of(config.dicomweb), parse_query(config.dicomweb_query))
    except MedGANError as error:
        logger.warning("No studies came from the archive: %s", error)
        return
    except Exception:
        logger.exception("The pull from the archive failed.")
        return
    logger.info("From the archive: %d new studies, %d refused.", len(pulled.new), len(pulled.refused))


def parse_query(pairs: Sequence[str]) -> dict[str, str]:
    """`["Modality=MR"]` as a dictionary. Raises MedGANError `bad_option`."""
    parts = [pair.partition("=") for pair in pairs]
    if any(not key.strip() or not value.strip() for key, _, value in parts):
        raise MedGANError("bad_option", "A query is KEYWORD=VALUE, e.g. Modality=MR.")
    return {key.strip(): value.strip() for key, _, value in parts}


def _take(
    found: Found, archive: Archive, config: ServerConfig, pulled: Pulled, report: Report, by_name: bool = False
) -> None:
    """Fetches and converts one series, unless it is known, or was removed here and is not asked for by its name."""
    name, place = study_name(found.series), Place(config.studies, config.data, config.temporary)
    if place.is_known(name):
        pulled.known.append(name)
        return
    if place.was_removed(name) and not by_name:
        pulled.refused[found.series] = f"The study {name} was removed here. --series brings it back."
        return
    try:
        with _incoming(config.data) as folder:
            _fetch(found, archive, folder, report)
            scratch = Place(config.studies, config.data, folder)
            is_new = add_series(sorted_files(folder / "series"), scratch, origin=archive.url)
        (pulled.new if is_new else pulled.known).append(name)
    except MedGANError as error:
        if error.code.startswith("archive_"):
            raise
        pulled.refused[found.series] = str(error)
        logger.warning("The archive's series %s is left out: %s", name, error)


def _fetch(found: Found, archive: Archive, folder: Path, report: Report) -> None:
    """One instance at a time to disk. Raises MedGANError if the series is none of images."""
    check_modality(found.modality)
    instances = archive.instances(found)
    if not instances:
        raise MedGANError("cannot_process", "It is empty.")
    (folder / "series").mkdir()
    for number, instance in enumerate(instances):
        archive.fetch(found, instance, folder / "series" / f"{number:06}.dcm")
        report(study_name(found.series), number + 1, len(instances))


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One pull at a time; what an earlier one left behind when it was killed is removed."""
    (data / FOLDER).mkdir(mode=0o700, exist_ok=True)
    try:
        with FileLock(data / "pull.lock", timeout=0):
            for left in (data / FOLDER).glob(f"{INCOMING}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield
    except Timeout as error:
        raise MedGANError("busy", "Another pull from the archive goes on.", "Wait until it is done.") from error


@contextmanager
def _incoming(data: Path) -> Iterator[Path]:
    """A folder for files with patients' names, closed to other users, removed afterwards."""
    with tempfile.TemporaryDirectory(dir=data / FOLDER, prefix=INCOMING) as folder:
        yield Path(folder)

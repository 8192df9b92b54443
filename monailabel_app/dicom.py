"""DICOM series in the studies' folder: each becomes a NIfTI study, once, under a name that hides the patient."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from trainers.data.volumes import VolumeError, read_volume, write_volume
from trainers.files import atomic_write_json, atomic_write_text, read_json

logger = logging.getLogger(__name__)

INDEX = "dicom.json"
SECRET = "secret"
NOT_STUDIES = ("labels",)


def import_series(studies: Path, data: Path) -> list[str]:
    """Converts the series below `studies` that were not converted before.

    Args:
        studies: the folder; sub-folders may hold one or more series each.
        data: the server's data folder.

    Returns:
        Ids of the new studies. A series that cannot be read is left out, with a line in the log.
    """
    index: dict[str, dict[str, str]] = read_json(data / INDEX) if (data / INDEX).exists() else {}
    new = []
    for folder in _folders(studies, data):
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            name = study_name(uid)
            if name in index and (studies / f"{name}.nii.gz").exists():
                continue
            patient = _convert(folder, uid, studies / f"{name}.nii.gz", data)
            if patient:
                index[name] = {"patient": patient}
                atomic_write_json(data / INDEX, index)
                new.append(name)
    return new


def patients(data: Path) -> dict[str, str]:
    """The patient, as a pseudonym, of every study that came from DICOM."""
    index: dict[str, dict[str, str]] = read_json(data / INDEX) if (data / INDEX).exists() else {}
    return {name: entry["patient"] for name, entry in index.items()}


def study_name(series_uid: str) -> str:
    """`dicom-` and twelve hexadecimal digits that depend on the series alone."""
    return f"dicom-{hashlib.sha256(series_uid.encode()).hexdigest()[:12]}"


def _folders(studies: Path, data: Path) -> Iterator[Path]:
    """Folders that may hold series: all but hidden ones, labels, and the data folder."""
    for path in sorted(studies.iterdir()):
        if path.is_dir() and path != data and not path.name.startswith(".") and path.name not in NOT_STUDIES:
            yield path
            yield from sorted(p for p in path.rglob("*") if p.is_dir())


def _convert(folder: Path, uid: str, target: Path, data: Path) -> str:
    """Converts one series. Returns its patient's pseudonym, or nothing if it cannot be read as a volume."""
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    whole = data / "tmp" / target.name
    try:
        patient = _pseudonym(Path(files[0]), data)
        sitk.WriteImage(sitk.ReadImage(files), str(whole))
        write_volume(target, read_volume(whole), compress=True)
    except (RuntimeError, VolumeError, InvalidDicomError, OSError) as error:
        logger.warning("A DICOM series of %d files is left out: %s", len(files), type(error).__name__)
        return ""
    finally:
        whole.unlink(missing_ok=True)
    return patient


def _pseudonym(file: Path, data: Path) -> str:
    """A keyed hash of the patient's id; without the key in the data folder nobody can try out ids."""
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "SeriesInstanceUID"])
    told = str(header.get("PatientID") or header.get("SeriesInstanceUID"))
    return f"patient-{hmac.new(_secret(data), told.encode(), hashlib.sha256).hexdigest()[:12]}"


def _secret(data: Path) -> bytes:
    path = data / SECRET
    if not path.exists():
        atomic_write_text(path, secrets.token_hex(32))
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip().encode()

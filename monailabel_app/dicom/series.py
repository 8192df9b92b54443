"""DICOM series become NIfTI studies, once, under a name that hides the patient."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
import SimpleITK as sitk
from filelock import FileLock
from pydicom.dataset import Dataset

from monailabel_app.dicom.frames import GROUPS, frames_of
from monailabel_app.dicom.geometry import check_stack, is_multiframe, stack_affine
from monailabel_app.dicom.maker import made_here
from monailabel_app.dicom.provenance import SERIES, SLICE, Source, save, source_file
from monailabel_app.errors import MedGANError
from monailabel_app.history import iso_time
from trainers.data.instances import UNREADABLE, damaged_instance
from trainers.data.slices import read_slices
from trainers.data.volumes import Header, Volume, VolumeError, read_volume, same_grid, write_volume
from trainers.files import atomic_write_json, atomic_write_text, read_json
from trainers.marks import altered_header

logger = logging.getLogger(__name__)

INDEX = "dicom.json"
REMOVED = "removed"  # in the index, in place of the patient: when
SECRET = "secret"
NOT_STUDIES = ("labels",)
NO_IMAGES = frozenset(
    """
    SEG SR PR KO RTSTRUCT RTPLAN RTRECORD RTDOSE REG FID RWV DOC PLAN AU ECG EPS HD RESP SMR STAIN TEXTUREMAP ANN M3D
    """.split()  # noqa: SIM905
)
GRID_TOLERANCE = 0.05  # mm, between the grid that ITK reads and the one that the headers tell


@dataclass(frozen=True)
class Place:
    """Where studies go, and what is kept of their origin.

    Attributes:
        studies: the folder of studies. data: the server's data folder. scratch: folder for files on their way.
    """

    studies: Path
    data: Path
    scratch: Path

    def file(self, name: str) -> Path:
        """The file of a study that came from DICOM."""
        return self.studies / f"{name}.nii.gz"

    def is_known(self, name: str) -> bool:
        """Whether the study was made already, and can give back results."""
        return name in patients(self.data) and self.file(name).exists() and source_file(self.data, name).exists()

    def was_removed(self, name: str) -> bool:
        """Whether the study was removed on purpose: it does not come back by itself."""
        return REMOVED in _index(self.data).get(name, {})


def import_series(studies: Path, data: Path) -> list[str]:
    """Converts the series below `studies` that were not converted before.

    Args:
        studies: the folder; sub-folders may hold one or more series each.
        data: the server's data folder.

    Returns:
        Ids of the new studies. A series that cannot be read is left out, with a line in the log.
    """
    place, new = Place(studies, data, data / "tmp"), []
    for folder in _folders(studies, data):
        if damaged_instance(folder):
            logger.warning("A folder is left out: one of its DICOM files is damaged.")
            continue
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            if place.is_known(study_name(uid)) or place.was_removed(study_name(uid)):
                continue
            files = [Path(f) for f in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)]
            try:
                new += [study_name(uid)] if add_series(files, place) else []
            except MedGANError as error:
                logger.warning("A DICOM series of %d files is left out: %s", len(files), error)
    return new


def sorted_files(folder: Path) -> list[Path]:
    """The files of the one series in a folder, by position. Raises MedGANError `cannot_process` for none or several."""
    if damaged_instance(folder):
        raise MedGANError("cannot_process", "What the archive sent holds a damaged file.")
    reader = sitk.ImageSeriesReader
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise MedGANError("cannot_process", f"What the archive sent holds {len(series)} series, not one.")
    return [Path(f) for f in reader.GetGDCMSeriesFileNames(str(folder), series[0])]


def add_series(files: Sequence[Path], place: Place, origin: str = "") -> bool:
    """Makes a study of one series, or only notes the origin of one that an earlier version made.

    Args:
        files: its instances, by position.
        place: where it goes.
        origin: address of the archive that it came from; empty for files in the studies' folder.

    Returns:
        Whether there is a new study.

    Raises:
        MedGANError: `cannot_process` or `wrong_geometry`, if it is no volume, or one with gaps.
    """
    source, planes = _source(files, place, origin)
    is_new = not place.file(source.name).exists()
    if is_new:
        _convert(files, source, planes, place)
    patient = _pseudonym(files[0], place.data)
    save(place.data, source)
    with FileLock(place.data / "dicom.lock", timeout=60):
        atomic_write_json(place.data / INDEX, {**_index(place.data), source.name: {"patient": patient}})
    return is_new


def patients(data: Path) -> dict[str, str]:
    """The patient, as a pseudonym, of every study that came from DICOM."""
    return {name: entry["patient"] for name, entry in _index(data).items() if REMOVED not in entry}


def forget(name: str, data: Path) -> None:
    """Forgets where a study that is removed came from, but for that its series is not to become a study by itself."""
    with FileLock(data / "dicom.lock", timeout=60):
        index = _index(data)
        if name in index:
            atomic_write_json(data / INDEX, {**index, name: {REMOVED: iso_time(time.time())}})
    source_file(data, name).unlink(missing_ok=True)


def study_name(series_uid: str) -> str:
    """`dicom-` and twelve hexadecimal digits that depend on the series alone."""
    return f"dicom-{hashlib.sha256(series_uid.encode()).hexdigest()[:12]}"


def check_modality(modality: str) -> None:
    """Raises MedGANError `cannot_process` for a modality of objects that are not images of a patient."""
    if modality in NO_IMAGES:
        raise MedGANError("cannot_process", f"It has no images: its modality is {modality}.")


def secret_of(data: Path) -> bytes:
    """The key of all pseudonyms, made at the first call; readable by the server's user alone."""
    path = data / SECRET
    if not path.exists():
        atomic_write_text(path, secrets.token_hex(32))
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip().encode()


def _index(data: Path) -> dict[str, dict[str, str]]:
    return read_json(data / INDEX) if (data / INDEX).exists() else {}


def _folders(studies: Path, data: Path) -> Iterator[Path]:
    """Folders that may hold series: all but hidden ones, labels, and the data folder."""
    for path in sorted(studies.iterdir()):
        if path.is_dir() and path != data and not path.name.startswith(".") and path.name not in NOT_STUDIES:
            yield path
            yield from sorted(p for p in path.rglob("*") if p.is_dir())


def _source(files: Sequence[Path], place: Place, origin: str) -> tuple[Source, list[Dataset]]:
    """What the headers tell, and those of all slices or frames. Raises MedGANError if the series is no volume."""
    tags = [*SERIES, *SLICE, *GROUPS]
    try:
        headers = [pydicom.dcmread(f, stop_before_pixels=True, specific_tags=tags) for f in files]
        name = study_name(str(headers[0].SeriesInstanceUID))
        check_modality(str(headers[0].get("Modality", "")))
        planes: list[Dataset] = frames_of(headers[0]) if is_multiframe(headers) else [*headers]
        if planes:
            check_stack(planes)
    except UNREADABLE as error:
        raise MedGANError("cannot_process", "Its files cannot be read as DICOM.") from error
    file = "" if origin else str(files[0].relative_to(place.studies))
    slices = [_only(header, SLICE) for header in headers]
    return Source(name, origin, file, _only(headers[0], SERIES), slices), planes


def _only(header: Dataset, keywords: Sequence[str]) -> Dataset:
    kept = Dataset()
    for keyword in keywords:
        if keyword in header:
            kept[keyword] = header[keyword]
    return kept


def _convert(files: Sequence[Path], source: Source, planes: Sequence[Dataset], place: Place) -> None:
    """Writes the study's file; one that MedGAN made itself, with the mark of it."""
    whole = place.scratch / place.file(source.name).name
    try:
        sitk.WriteImage(read_slices(files), str(whole))
        volume = read_volume(whole)
    except (RuntimeError, OSError) as error:
        raise MedGANError("cannot_process", "Its voxels cannot be read.") from error
    except VolumeError as error:
        raise MedGANError("cannot_process", error.message, error.hint) from error
    finally:
        whole.unlink(missing_ok=True)
    _check_grid(volume, planes)
    maker = made_here(source.series)
    mark = altered_header(maker.model, maker.version, 1.0) if maker else None
    write_volume(place.file(source.name), volume, mark, compress=True)


def _check_grid(volume: Volume, planes: Sequence[Dataset]) -> None:
    """What ITK read must lie where the headers say, if they do: results go back by the headers."""
    if not planes:
        return
    told = Header((int(planes[0].Columns), int(planes[0].Rows), len(planes)), stack_affine(planes), "", 1, 0)
    if not same_grid(volume, told, GRID_TOLERANCE):
        raise MedGANError("wrong_geometry", "The images do not lie where their headers say.")


def _pseudonym(file: Path, data: Path) -> str:
    """A keyed hash of the patient's id; without the key in the data folder nobody can try out ids."""
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "SeriesInstanceUID"])
    told = str(header.get("PatientID") or header.get("SeriesInstanceUID"))
    return f"patient-{hmac.new(secret_of(data), told.encode(), hashlib.sha256).hexdigest()[:12]}"

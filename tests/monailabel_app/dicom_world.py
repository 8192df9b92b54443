"""DICOM for the server's tests: small MR series in any direction, and a private archive."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial import cKDTree

from trainers.data.volumes import LPS_TO_RAS, Volume

NAME, PATIENT, ACCESSION = "Müller^Jürgen", "MRN-4711", "ACC-0815"
IDENTITY = {
    "PatientName": NAME, "PatientID": PATIENT, "PatientBirthDate": "19511103", "PatientSex": "M",
    "AccessionNumber": ACCESSION, "StudyDate": "20240229", "StudyTime": "101112", "StudyID": "S77",
    "ReferringPhysicianName": "House^Gregory", "InstitutionName": "Princeton-Plainsboro",
    "StationName": "MR-EAST", "DeviceSerialNumber": "SN-123456", "PatientComments": "lives in Elm Street",
    "OperatorsName": "Tech^Tom", "StudyDescription": "Head of Herr Müller",
}  # fmt: skip
TILT = np.deg2rad(25)
DIRECTIONS: dict[str, tuple[tuple[float, ...], float]] = {
    "axial": ((1, 0, 0, 0, 1, 0), 1.0),
    "sagittal": ((0, 1, 0, 0, 0, -1), 1.0),
    "oblique": ((np.cos(TILT), np.sin(TILT), 0, -np.sin(TILT) * np.cos(TILT), np.cos(TILT) ** 2, np.sin(TILT)), 1.0),
    "reversed": ((1, 0, 0, 0, 1, 0), -1.0),
}
"""Row and column of a slice in LPS, and whether the first instance is the lowest or the highest along the normal."""


@dataclass(frozen=True)
class Series:
    """A series on disk, and what must be read of it.

    Attributes:
        folder: its files. volume: the true one, in RAS. uid: of the series. study: of the study.
    """

    folder: Path
    volume: Volume
    uid: str
    study: str


def make_series(
    folder: Path, direction: str = "axial", shape: tuple[int, int, int] = (12, 10, 7), **more: Any
) -> Series:
    """Writes a small MR series, one file a slice, full of identifiers.

    Args:
        folder: where to.
        direction: a key of DIRECTIONS.
        shape: columns, rows, slices.
        more: attributes beside, or in place of, the usual ones; `skip` leaves out these slices.
    """
    folder.mkdir(parents=True)
    array = np.random.default_rng(len(direction)).integers(0, 900, shape).astype(np.int16)
    affine = _affine(direction)
    skip, study, uid = more.pop("skip", ()), more.pop("study", generate_uid()), generate_uid()
    common = {
        **IDENTITY, "StudyInstanceUID": study, "SeriesInstanceUID": uid, "FrameOfReferenceUID": generate_uid(),
        "SOPClassUID": MRImageStorage, "Modality": "MR", "Manufacturer": "Scanner Works", "SeriesNumber": 3,
        "EchoTime": 3.2, "ScanningSequence": "GR", "SequenceVariant": "NONE", "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "SeriesDescription": "T1 of Müller", "SpecificCharacterSet": "ISO_IR 100", "PositionReferenceIndicator": "",
        **more,
    }  # fmt: skip
    for index in range(shape[2]):
        if index not in skip:
            _write_slice(folder / f"{index:03}.dcm", common, array, affine, index)
    return Series(folder, Volume(array, LPS_TO_RAS @ affine), uid, study)


def _affine(direction: str) -> np.ndarray:
    orientation, sense = DIRECTIONS[direction]
    row, column = np.reshape(orientation, (2, 3))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * 0.9, column * 1.1
    affine[:3, 2] = sense * np.cross(row, column) * 2.5
    affine[:3, 3] = (-31.25, 17.5, 42.125)
    return affine


def _write_slice(path: Path, common: dict[str, Any], array: np.ndarray, affine: np.ndarray, index: int) -> None:
    dataset = Dataset()
    for key, value in common.items():
        setattr(dataset, key, value)
    dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), index + 1
    dataset.ImagePositionPatient = [f"{v:.6f}" for v in affine[:3, 3] + index * affine[:3, 2]]
    dataset.ImageOrientationPatient = [f"{v:.9f}" for v in (*affine[:3, 0] / 0.9, *affine[:3, 1] / 1.1)]
    dataset.PixelSpacing, dataset.SliceThickness = [1.1, 0.9], 2.5
    dataset.Columns, dataset.Rows = array.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = np.ascontiguousarray(array[:, :, index].T).tobytes()
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "private Müller")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    pydicom.dcmwrite(path, dataset, write_like_original=False)


def label_of(volume: Volume) -> Volume:
    """A label with values 1 and 2 that no mirroring or turning leaves as it is."""
    array = np.zeros(volume.shape, np.uint8)
    array[1:5, 2:4, 1:3] = 1
    array[6:8, 5:9, 3:] = 2
    return volume.like(array)


def in_space(volume: Volume) -> np.ndarray:
    """Voxels that are not 0 as rows of x, y, z in RAS mm and value: the same whatever the order of the axes is."""
    indices = np.argwhere(volume.array != 0)
    places = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.column_stack([places, volume.array[tuple(indices.T)]])


def same_in_space(a: np.ndarray, b: np.ndarray, values: float = 0.0, mm: float = 0.005) -> bool:
    """Whether both have the same voxels at the same places, up to `values` and `mm`."""
    if len(a) != len(b):
        return False
    far, nearest = cKDTree(b[:, :3]).query(a[:, :3])
    each_once = len(set(nearest.tolist())) == len(b)
    return bool(each_once and far.max() <= mm and np.abs(a[:, 3] - b[nearest, 3]).max() <= values)


def volume_of(datasets: list[Dataset]) -> Volume:
    """The volume of a classic series by pydicom alone, slices as they come."""
    columns = [np.array([float(v) for v in d.ImagePositionPatient]) for d in datasets]
    first, (row_step, column_step) = datasets[0], map(float, datasets[0].PixelSpacing)
    along = np.array([float(v) for v in first.ImageOrientationPatient]).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along[0] * column_step, along[1] * row_step
    affine[:3, 2], affine[:3, 3] = columns[1] - columns[0], columns[0]
    slices = [d.pixel_array.T * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in datasets]
    return Volume(np.stack(slices, axis=2), LPS_TO_RAS @ affine)


def segments_of(seg: Dataset) -> dict[int, np.ndarray]:
    """The voxels of each segment by their place in RAS mm, read frame by frame from the geometry in the object."""
    found: dict[int, list[np.ndarray]] = {}
    shared = seg.SharedFunctionalGroupsSequence[0]
    along = np.array([float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]).reshape(2, 3)
    row_step, column_step = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = seg.pixel_array if seg.NumberOfFrames > 1 else seg.pixel_array[None]
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = along[0] * column_step, along[1] * row_step
        affine[:3, 3] = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found.setdefault(number, []).append(in_space(Volume(frame.T[:, :, None], LPS_TO_RAS @ affine)))
    return {number: np.concatenate(rows) for number, rows in found.items()}


@dataclass(frozen=True)
class Orthanc:
    """A private archive.

    Attributes:
        url: of its DICOMweb service. user, password: who may enter. rest: its own interface.
    """

    url: str
    user: str
    password: str
    rest: str

    @property
    def environment(self) -> dict[str, str]:
        return {"MEDGAN_DICOMWEB_USER": self.user, "MEDGAN_DICOMWEB_PASSWORD": self.password}

    def fill(self, series: Series) -> None:
        """Stores a series by its own interface."""
        for file in sorted(series.folder.iterdir()):
            answer = requests.post(
                f"{self.rest}/instances", data=file.read_bytes(), auth=(self.user, self.password), timeout=30
            )
            answer.raise_for_status()


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Starts a private Orthanc with its DICOMweb plug-in; skips where they are not installed."""
    binary, plugin = shutil.which("Orthanc"), Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if binary is None or not plugin.exists():
        pytest.skip("Orthanc and its DICOMweb plug-in are not installed: apt-get install orthanc orthanc-dicomweb")
    port = _free_port()
    rest = f"http://127.0.0.1:{port}"
    live = Orthanc(f"{rest}/dicom-web", "medgan", "open-sesame", rest)
    _configure(folder / "orthanc.json", folder, port, plugin, live)
    with (folder / "orthanc.txt").open("w") as log:
        process = subprocess.Popen([binary, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(live, process, folder / "orthanc.txt")
            yield live
        finally:
            process.terminate()
            process.wait(30)


def _configure(path: Path, folder: Path, port: int, plugin: Path, live: Orthanc) -> None:
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": port,
        "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
        "RegisteredUsers": {live.user: live.password}, "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }  # fmt: skip
    path.write_text(json.dumps(settings))


def _wait(live: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{live.rest}/system", auth=(live.user, live.password), timeout=5).ok:
                return
        time.sleep(0.1)
    raise RuntimeError(f"Orthanc did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

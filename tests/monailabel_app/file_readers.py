"""Kinds of files with a valid one of each, and what reads them as the server does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from dicom_world import make_series
from PIL import Image
from starlette.datastructures import UploadFile

from monailabel_app.dicom.series import Place, add_series, sorted_files
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.runs import PROGRESS, new_run, read_run
from monailabel_app.history import Entry, LabelHistory
from monailabel_app.registry import RECORD, Record, Registry
from monailabel_app.uploads import received
from trainers.data.cases import CasesError
from trainers.data.kspace import SUFFIXES as KSPACE
from trainers.data.kspace import read_kspace
from trainers.data.readers.medmnist import open_medmnist
from trainers.data.readers.pictures import read_picture, read_values
from trainers.data.volumes import (
    Limits,
    Volume,
    VolumeError,
    check_file,
    read_label,
    read_metadata,
    read_volume,
    write_volume,
)
from trainers.networks import build
from trainers.spec import SPEC_FILE, ModelNotAvailable, ModelSpec, load_weights, save_weights

LIMITS = Limits(max_voxels=1 << 20, max_bytes=1 << 23)
TOLD = (VolumeError, MedGANError, ModelNotAvailable, CasesError)
"""What readers raise for files that are damaged."""
SHAPE = (6, 5, 4)


@dataclass(frozen=True)
class Reader:
    """A kind of file, and what reads it.

    Attributes:
        make: writes a valid one into a folder, and returns the file that is damaged.
        read: reads what is in the folder; checks what it got.
        packed: whether the damage is done to what the file has compressed.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    packed: bool = False


def image() -> Volume:
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3
    return Volume(values.astype(np.int16), np.diag([1.0, 2.0, 1.5, 1.0]))


def volume_file(name: str, compress: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_volume(folder / name, image(), compress=compress)
        return folder / name

    return make


def read_as_volume(path: Path) -> None:
    """As the server: an upload is looked at, read as an image, and as a label."""
    with path.open("rb") as stream, received(UploadFile(stream, filename=path.name), path.parent) as file:
        with suppress(*TOLD):
            read_metadata(file)
        with suppress(*TOLD):
            label = read_label(file)
            assert label.array.dtype.kind == "u"
        check_file(file, LIMITS)
        volume = read_volume(file, LIMITS)
    assert volume.array.ndim == 3 and volume.array.size <= LIMITS.max_voxels
    assert np.isfinite(volume.array).all() and np.isfinite(volume.affine).all()
    assert abs(np.linalg.det(volume.affine)) > 0


def read_as_kspace(path: Path) -> None:
    with path.open("rb") as stream:
        upload = UploadFile(stream, filename=path.name)
        with received(upload, path.parent, suffixes=KSPACE) as file:
            found = read_kspace(file)
    assert found.samples.ndim == 4 and np.isfinite(found.samples).all() and found.lines.any()


def npy(folder: Path) -> Path:
    np.save(folder / "k.npy", np.ones((2, 8, 6), np.complex64))
    return folder / "k.npy"


def fastmri(folder: Path) -> Path:
    with h5py.File(folder / "k.h5", "w") as file:
        file["kspace"], file["mask"] = np.ones((2, 2, 8, 6), np.complex64), np.ones(6, bool)
    return folder / "k.h5"


def ismrmrd(folder: Path) -> Path:
    """Two lines of one slice and one coil, on a grid of 4 x 2."""
    index = np.dtype([("kspace_encode_step_1", "<u2"), ("slice", "<u2")])
    head = np.dtype([("flags", "<u8"), ("active_channels", "<u2"), ("idx", index)])
    rows = np.zeros(2, np.dtype([("head", head), ("data", h5py.vlen_dtype(np.float32))]))
    for number, row in enumerate(rows):
        row["head"]["active_channels"], row["head"]["idx"]["kspace_encode_step_1"] = 1, number
        row["data"] = np.ones(8, np.float32)
    xml = (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace><matrixSize><x>4</x><y>2</y><z>1'
        "</z></matrixSize></encodedSpace><encodingLimits><kspace_encoding_step_1><minimum>0</minimum><center>1</center>"
        "</kspace_encoding_step_1></encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
    )
    with h5py.File(folder / "k.h5", "w") as file:
        file["dataset/data"] = rows
        file.create_dataset("dataset/xml", data=[xml], dtype=h5py.string_dtype())
    return folder / "k.h5"


def png(folder: Path) -> Path:
    Image.fromarray((np.arange(80).reshape(8, 10) % 5).astype(np.uint8)).save(folder / "p.png")
    return folder / "p.png"


def read_as_picture(path: Path) -> None:
    with suppress(*TOLD):
        read_values(path)
    assert read_picture(path, colour=False).image.ndim == 3


def npz(folder: Path) -> Path:
    arrays = {f"{part}_images": np.ones((3, 6, 6), np.uint8) for part in ("train", "val")}
    np.savez(folder / "s.npz", **arrays, train_labels=np.zeros((3, 1), np.uint8))
    return folder / "s.npz"


def read_as_set(path: Path) -> None:
    found = open_medmnist(path)
    assert all(entry.read().image.ndim >= 3 for entry in found.entries)


def dicom(folder: Path) -> Path:
    series = make_series(folder / "series", shape=(6, 5, 3))
    return sorted(series.folder.iterdir())[1]


def read_as_dicom(path: Path) -> None:
    folder = path.parent
    for place in ("studies", "data", "data/tmp"):
        (folder.parent / place).mkdir(exist_ok=True)
    with suppress(*TOLD):
        read_volume(folder, LIMITS)
    for study in (folder.parent / "studies").iterdir():
        study.unlink()
    place = Place(folder.parent / "studies", folder.parent / "data", folder.parent / "data" / "tmp")
    try:
        add_series(sorted_files(folder), place, origin="archive")
    finally:
        assert not list(place.scratch.iterdir())


NETWORK = {"name": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [2, 2], "strides": [1]}


def weights(folder: Path) -> Path:
    save_weights(build(NETWORK), folder / "model.safetensors")
    return folder / "model.safetensors"


def read_as_weights(path: Path) -> None:
    network = build(NETWORK)
    load_weights(network, path)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def version(folder: Path, name: str) -> Path:
    place = folder / "models" / "m" / "v0001"
    place.mkdir(parents=True)
    ModelSpec("m", "segmentation", "M", "About it.", NETWORK, {"spacing": [1.0, 1.0, 1.0]}, {"a": 1}).save(place)
    (place / RECORD).write_text(json.dumps(dataclasses.asdict(Record(checks=[{"name": "dice"}]))))
    return place / name


def read_as_version(path: Path) -> None:
    registry = Registry(path.parents[2], path.parents[2])
    told = [one.describe() for one in registry.versions("m")]
    assert json.dumps(told) and told[0]["state"] in {"published", "candidate", "refused"}
    spec = ModelSpec.load(path.parent)
    assert all(isinstance(value, int) for value in spec.labels.values()) and isinstance(spec.task, str)


def run_progress(folder: Path) -> Path:
    return folder / new_run(folder, "m", {}) / PROGRESS


def read_as_run(path: Path) -> None:
    found = read_run(path.parents[1], path.parent.name)
    assert found is None or (isinstance(found["state"], str) and isinstance(found["model"], str))


def entry(folder: Path) -> Path:
    history, file = LabelHistory(folder), volume_file("l.nii.gz")(folder)
    history.record(Entry("study", "final", 1, ext=".nii.gz", author="somebody"), file)
    return folder / "labels" / "final" / "study" / "0001.json"


def read_as_entry(path: Path) -> None:
    found = LabelHistory(path.parents[3]).entries("study", "final")
    assert all(json.dumps(one.shown(True)) for one in found)


READERS: dict[str, Reader] = {
    "nii": Reader(volume_file("v.nii"), read_as_volume),
    "nii.gz": Reader(volume_file("v.nii.gz"), read_as_volume),
    "nii in gz": Reader(volume_file("v.nii.gz"), read_as_volume, packed=True),
    "nrrd": Reader(volume_file("v.nrrd"), read_as_volume),
    "nrrd with gz": Reader(volume_file("v.nrrd", True), read_as_volume),
    "mha": Reader(volume_file("v.mha"), read_as_volume),
    "mha with zlib": Reader(volume_file("v.mha", True), read_as_volume),
    "npy": Reader(npy, read_as_kspace),
    "fastmri": Reader(fastmri, read_as_kspace),
    "ismrmrd": Reader(ismrmrd, read_as_kspace),
    "png": Reader(png, read_as_picture),
    "npz": Reader(npz, read_as_set),
    "dicom": Reader(dicom, read_as_dicom),
    "weights": Reader(weights, read_as_weights),
    "spec": Reader(lambda folder: version(folder, SPEC_FILE), read_as_version),
    "record": Reader(lambda folder: version(folder, RECORD), read_as_version),
    "run": Reader(run_progress, read_as_run),
    "history": Reader(entry, read_as_entry),
}

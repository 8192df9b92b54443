"""Readers under files with damage: a valid result or the documented error, quickly and without much memory."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from dicom_world import make_series
from fuzzing import search
from hypothesis import strategies as st
from PIL import Image
from starlette.datastructures import UploadFile

from monailabel_app.dicom.series import Place, add_series, import_series, sorted_files
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

EXAMPLES = 25
SECONDS = 1.0  # of the processor
MEGABYTES = 64  # that reading a file of a few KB may take
LIMITS = Limits(max_voxels=1 << 20, max_bytes=1 << 23)
TOLD = (VolumeError, MedGANError, ModelNotAvailable, CasesError)
SHAPE = (6, 5, 4)
HEADER = 400  # bytes; half of the damage is done there
NUMBERS = [b"0", b"-1", b"1", b"3", b"255", b"65536", b"2147483648", b"1e308", b"nan", b"inf", b"-0.0", b"1e-320", b""]
BYTES = [bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\x00\x80"]

Edit = tuple[str, float, bytes]
WHERE = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(
    st.tuples(st.sampled_from(["head", "any"]), WHERE, st.binary(min_size=1, max_size=4) | st.sampled_from(BYTES))
    .map(lambda e: ("put in " + e[0], e[1], e[2]))
    | st.tuples(st.just("number"), WHERE, st.sampled_from(NUMBERS))
    | st.tuples(st.just("flip"), WHERE, st.binary(min_size=1, max_size=1))
    | st.tuples(st.sampled_from(["cut", "insert", "remove"]), WHERE, st.binary(min_size=1, max_size=16)),
    min_size=1,
    max_size=4,
)  # fmt: skip


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """A file's content after some edits: bytes changed, put in or taken out, the rest cut off, or another number."""
    for kind, share, new in edits:
        place = int(share * (min(len(data), HEADER) if kind == "put in head" else len(data)))
        if kind == "number":
            data = _other_number(data, share, new)
        elif kind == "flip":
            data = data[:place] + bytes(byte ^ new[0] for byte in data[place : place + 1]) + data[place + 1 :]
        elif kind == "cut":
            data = data[:place]
        elif kind == "insert":
            data = data[:place] + new + data[place:]
        elif kind == "remove":
            data = data[:place] + data[place + len(new) :]
        else:
            data = data[:place] + new + data[place + len(new) :]
    return data


def _other_number(data: bytes, share: float, new: bytes) -> bytes:
    """Another number in the text that a file begins with."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:2048]))
    if not found:
        return data
    chosen = found[int(share * len(found))]
    return data[: chosen.start()] + new + data[chosen.end() :]


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


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_damaged_file_is_read_or_told(reader: Reader, tmp_path: Path) -> None:
    path = reader.make(tmp_path)
    whole = path.read_bytes()
    reader.read(path)  # the one that is not damaged

    def check(edits: list[Edit]) -> None:
        changed = damaged(gzip.decompress(whole), edits) if reader.packed else damaged(whole, edits)
        path.write_bytes(gzip.compress(changed, 1) if reader.packed else changed)
        _forget_peak()
        before, begun = _peak(), time.thread_time()
        with suppress(*TOLD):
            reader.read(path)
        assert time.thread_time() - begun < SECONDS
        assert _peak() - before < MEGABYTES

    search(EDITS, check, EXAMPLES)


def test_a_lying_metaimage_header_is_told_before_itk_reads_it(tmp_path: Path) -> None:
    """ITK's reader takes headers at their word: some end the process that reads them."""
    path = volume_file("v.mha")(tmp_path)
    whole = path.read_bytes()
    lies = {b"NDims = 3": [b"NDims = 65536", b"NDims = -1", b"NDims = 2", b"NDims = x"],
            b"DimSize = 6 5 4": [b"DimSize = 6 5", b"DimSize = 6 5 -4", b"DimSize = 6 5 nan", b"DimSize ="],
            b"CompressedData = False": [b"CompressedData = " + b"x" * 5000, b"no field", b"NDims = 3"]}  # fmt: skip
    for told, others in lies.items():
        assert told in whole
        for lie in others:
            path.write_bytes(whole.replace(told, lie))
            with pytest.raises(VolumeError) as caught:
                check_file(path)
            assert caught.value.code == "not_an_image", lie


@pytest.mark.parametrize("start", [b"", b"\x00" * 8, b"PK\x03\x04"])
def test_a_nifti_file_without_its_header_is_told(tmp_path: Path, start: bytes) -> None:
    path = volume_file("v.nii")(tmp_path)
    path.write_bytes(start + path.read_bytes()[len(start) + 4 :])
    with pytest.raises(VolumeError):
        read_volume(path)


def test_a_dicom_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    """GDCM would take a gigabyte for such a length before it finds out."""
    path = dicom(tmp_path)
    whole = path.read_bytes()
    place = whole.rindex(b"\xe0\x7f\x10\x00OW") + 8
    path.write_bytes(whole[:place] + (1 << 30).to_bytes(4, "little") + whole[place + 4 :])
    _forget_peak()
    before = _peak()
    with pytest.raises(VolumeError):
        read_volume(path.parent)
    assert _peak() - before < MEGABYTES
    studies = tmp_path / "studies"
    studies.mkdir()
    path.parent.rename(studies / "scan")
    assert import_series(studies, tmp_path / "data") == [], "the server starts all the same"


def test_a_header_whose_field_has_no_name_in_unicode_is_read(tmp_path: Path) -> None:
    path = volume_file("v.nrrd")(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"space: ", b"odd\xcb:=value\nspace: ", 1))
    assert not any("odd" in name for name in read_metadata(path))


def test_a_header_without_a_place_in_space_is_told(tmp_path: Path) -> None:
    path = volume_file("v.nii")(tmp_path)
    header = bytearray(path.read_bytes())
    header[268:272] = header[280:284] = np.float32(np.nan).tobytes()  # qoffset_x, srow_x
    path.write_bytes(header)
    with pytest.raises(VolumeError):
        check_file(path)


def test_a_version_with_an_unknown_state_or_label_is_not_served(tmp_path: Path) -> None:
    record, spec = version(tmp_path, RECORD), tmp_path / "models" / "m" / "v0001" / SPEC_FILE
    record.write_text(record.read_text().replace("published", "publish3d"))
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "labels": {"a": 1.5}}))
    assert Registry(tmp_path / "models", tmp_path / "models").versions("m")[0].record.state == "refused"
    with pytest.raises(ModelNotAvailable):
        ModelSpec.load(spec.parent)


@pytest.mark.parametrize("text", ["{", "[1]", '{"study": "s", "tag": "final", "number": 1, "info": 5}'])
def test_a_damaged_entry_of_the_history_is_told(tmp_path: Path, text: str) -> None:
    path = entry(tmp_path)
    path.write_text(text)
    with pytest.raises(MedGANError) as caught:
        LabelHistory(tmp_path).entries("study", "final")
    assert (caught.value.status_code, caught.value.code) == (503, "storage_not_available")


@pytest.mark.parametrize("text", ["[1]", "5", '{"state": 5}', '{"model": null}'])
def test_a_run_whose_progress_is_no_progress_is_unknown(tmp_path: Path, text: str) -> None:
    path = run_progress(tmp_path)
    path.write_text(text)
    assert read_run(tmp_path, path.parent.name) is None


def _forget_peak() -> None:
    """Linux: the most memory that this process has taken counts from now on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """The most memory that this process has taken, in MiB; 0 where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0

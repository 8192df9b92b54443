"""K-space from every layout that it comes in, and what is no Cartesian k-space refused with a reason."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from trainers.data import kspace as module
from trainers.data.ismrmrd import PixelGrid
from trainers.data.kspace import read_kspace
from trainers.data.volumes import VolumeError

LINES = np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, 0], bool)


def samples(*shape: int) -> np.ndarray:
    random = np.random.default_rng(0)
    values = random.normal(size=(*shape, 12, 10)) + 1j * random.normal(size=(*shape, 12, 10))
    return (values * LINES).astype(np.complex64)


@pytest.mark.parametrize(("shape", "wanted"), [((), (1, 1)), ((3,), (3, 1)), ((3, 2), (3, 2))])
def test_arrays_of_slices_and_coils(tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    np.save(tmp_path / "k.npy", samples(*shape))
    found = read_kspace(tmp_path / "k.npy")
    assert found.samples.shape == (*wanted, 12, 10) and found.samples.dtype == np.complex64
    assert np.array_equal(found.samples.reshape(samples(*shape).shape), samples(*shape))
    assert np.array_equal(found.lines, LINES) and found.acceleration == 2


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_fastmri(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Its test files have a mask; a line beyond it is left out."""
    whole = samples(*shape) + (~LINES).astype(np.complex64)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["kspace"], file["mask"] = whole, LINES.astype(np.float32).reshape(1, 1, 10, 1)
    found = read_kspace(tmp_path / "file.h5")
    assert np.array_equal(found.lines, LINES)
    assert np.array_equal(found.samples, samples(*shape).reshape(3, -1, 12, 10))
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["kspace"] = whole
    assert read_kspace(tmp_path / "train.h5").lines.all(), "training files are fully sampled"


def ismrmrd(path: Path, trajectory: str = "cartesian", z: int = 1, rows: int = 10, **more: int) -> None:
    """Two slices, two coils; the first line of the first slice twice; a noise and a navigation line.

    Args:
        path: the file.
        trajectory: of the header. z: encoded partitions. rows: encoded lines.
        more: `skipped`, how many of the first lines were never encoded, as partial Fourier does: steps count from
            there; `contrast`, the second slice's; `flag`, of all lines of the second slice.
    """
    skipped = more.get("skipped", 0)
    index = np.dtype([("kspace_encode_step_1", "<u2"), ("slice", "<u2"), ("contrast", "<u2")])
    head = np.dtype([("flags", "<u8"), ("active_channels", "<u2"), ("idx", index)])
    entry = np.dtype([("head", head), ("traj", h5py.vlen_dtype(np.float32)), ("data", h5py.vlen_dtype(np.float32))])
    xml = (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>'
        f"<matrixSize><x>12</x><y>{rows}</y><z>{z}</z></matrixSize></encodedSpace><encodingLimits>"
        f"<kspace_encoding_step_1><minimum>0</minimum><center>{5 - skipped}</center></kspace_encoding_step_1>"
        f"</encodingLimits><trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"
    )
    whole = samples(2, 2)
    wanted = [(s, line) for s in range(2) for line in np.flatnonzero(LINES) if line >= skipped]
    others = {19: (1, 5), 23: (0, 5)}
    table = np.zeros(len(wanted) + 1 + len(others), entry)
    for row, (slice_, line) in zip(table, [wanted[0], *wanted, *others.values()], strict=True):
        row["head"]["active_channels"] = 2
        row["head"]["idx"]["slice"], row["head"]["idx"]["kspace_encode_step_1"] = slice_, line - skipped
        row["head"]["idx"]["contrast"] = more.get("contrast", 0) * slice_
        row["head"]["flags"] = more.get("flag", 0) * slice_
        row["traj"] = np.zeros(0, np.float32)
        row["data"] = np.ascontiguousarray(whole[slice_, :, :, line]).view(np.float32).ravel()
    for row, bit in zip(table[-len(others) :], others, strict=True):
        row["head"]["flags"], row["data"] = 1 << (bit - 1), row["data"] + 1
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("data", data=table, dtype=entry)
        group.create_dataset("xml", data=[xml], dtype=h5py.string_dtype())


@pytest.mark.parametrize("skipped", [0, 2])
def test_ismrmrd(tmp_path: Path, skipped: int) -> None:
    """Lines lie where their step is from the centre, however many the scan left out before it."""
    ismrmrd(tmp_path / "raw.h5", skipped=skipped)
    found = read_kspace(tmp_path / "raw.h5")
    wanted = samples(2, 2)
    wanted[..., :skipped] = 0
    assert found.samples == pytest.approx(wanted), "repeated lines are averaged, others are left out"
    assert np.array_equal(found.lines, LINES & (np.arange(10) >= skipped))


FIELDS = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>12</x><y>10</y><z>1</z></matrixSize>
<fieldOfView_mm><x>24</x><y>15</y><z>4.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>6</x><y>6</y><z>1</z></matrixSize>
<fieldOfView_mm><x>12</x><y>12</y><z>4.5</z></fieldOfView_mm></reconSpace>
<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


@pytest.mark.parametrize(
    ("header", "grid"),
    [
        (FIELDS, PixelGrid((2.0, 1.5, 4.5), (6, 8))),
        (FIELDS.replace("<x>24</x>", "<x>0</x>"), None),
        (FIELDS.replace("reconSpace", "otherSpace"), None),
        ("no xml", None),
    ],
)
def test_a_header_tells_the_voxel_size(tmp_path: Path, header: str, grid: PixelGrid | None) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["kspace"], file["ismrmrd_header"] = samples(3, 2), header
    assert read_kspace(tmp_path / "file.h5").grid == grid


@pytest.mark.parametrize(
    ("more", "message"), [({"contrast": 1}, "several images, one for each contrast"), ({"flag": 1 << 21}, "backwards")]
)
def test_lines_of_several_images_are_not_averaged(tmp_path: Path, more: dict[str, int], message: str) -> None:
    ismrmrd(tmp_path / "raw.h5", **more)
    with pytest.raises(VolumeError, match=message):
        read_kspace(tmp_path / "raw.h5")


def no_kspace(folder: Path, how: str) -> Path:
    path = folder / ("k.h5" if how in ("empty file", "spiral", "encodes three", "lines that are not") else "k.npy")
    whole = samples(3)
    if how == "empty file":
        path.write_bytes(b"")
    elif path.suffix == ".h5":
        more = {"spiral": {"trajectory": "spiral"}, "encodes three": {"z": 4}, "lines that are not": {"rows": 5}}
        ismrmrd(path, **more[how])  # type: ignore[arg-type]
    else:
        changed = {
            "no k-space": whole.real,
            "of shape": whole[0, 0],
            "not finite": np.where(whole == 0, np.nan, whole),
            "nothing but zeros": whole * 0,
            "same lines": np.stack([whole[0], whole[0][:, ::-1], whole[0]]),
            "last axis": np.swapaxes(whole, 1, 2),
            "not Cartesian": samples(3) * (np.random.default_rng(1).random((12, 10)) < 0.3),
        }
        np.save(path, changed[how])
    return path


@pytest.mark.parametrize(
    "how",
    ["empty file", "spiral", "encodes three", "lines that are not", "no k-space", "of shape", "not finite",
     "nothing but zeros", "same lines", "last axis", "not Cartesian"],
)  # fmt: skip
def test_what_is_none_is_told(tmp_path: Path, how: str) -> None:
    message = "cannot be read as k-space" if how == "empty file" else how
    with pytest.raises(VolumeError, match=message):
        read_kspace(no_kspace(tmp_path, how))


def test_other_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VolumeError, match=r"Give one of \.npy"):
        read_kspace(tmp_path / "scan.dat")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(VolumeError, match="fastMRI has it as kspace"):
        read_kspace(tmp_path / "other.h5")
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["kspace"], file["mask"] = samples(3), LINES[:-1]
    with pytest.raises(VolumeError, match="10 lines and a mask of 9"):
        read_kspace(tmp_path / "mask.h5")
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file["kspace"], file["mask"] = samples(3) * 0, LINES
    with pytest.raises(VolumeError, match="nothing but zeros"):
        read_kspace(tmp_path / "zeros.h5")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("kspace")
    with pytest.raises(VolumeError, match="cannot be read as k-space"):
        read_kspace(tmp_path / "group.h5")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(VolumeError, match="cannot be read"):
        read_kspace(tmp_path / "pickled.npy")
    monkeypatch.setattr(module, "MOST_SAMPLES", 10)
    np.save(tmp_path / "large.npy", samples(3))
    with pytest.raises(VolumeError, match="are the most"):
        read_kspace(tmp_path / "large.npy")

"""Cartesian k-space from files: fastMRI and ISMRMRD `.h5`, and `.npy`.

fastMRI: Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI", 2018. ISMRMRD: Inati et al.,
"ISMRM raw data format: a proposed standard for MRI raw datasets", MRM 2017.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from trainers.data.volumes import VolumeError

Array = npt.NDArray[Any]
SUFFIXES = (".npy", ".h5", ".hdf5")
MOST_SAMPLES = 2**28  # 2 GiB as complex64
CARTESIAN = 0.7
"""Least share of samples that a measured line has; partial echoes leave out some."""
NOISE = np.uint64(1 << 18)
"""ISMRMRD's flag ACQ_IS_NOISE_MEASUREMENT, its 19th bit."""


@dataclass(frozen=True)
class KSpace:
    """What a scanner measured.

    Attributes:
        samples: complex64, (slice, coil, readout, phase-encoding line); 0 where not measured.
        lines: which lines were measured, (lines,) bool, the same in all slices and coils.
    """

    samples: npt.NDArray[np.complex64]
    lines: npt.NDArray[np.bool_]

    @property
    def acceleration(self) -> float:
        """Number of all lines over that of measured ones."""
        return len(self.lines) / int(self.lines.sum())


def read_kspace(path: Path | str) -> KSpace:
    """Reads k-space.

    Args:
        path: `.npy` with complex (x, y), (slice, x, y) or (slice, coil, x, y), the phase-encoding axis last; fastMRI's
            `.h5` with `kspace` and perhaps `mask`; ISMRMRD's `.h5`.

    Raises:
        VolumeError: not such a file, not Cartesian, not two-dimensional, or nothing measured.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise VolumeError("not_an_image", f"{path.name} is no k-space file.", f"Give one of {', '.join(SUFFIXES)}.")
    try:
        samples, mask = _from_npy(path) if path.suffix == ".npy" else _from_h5(path)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, VolumeError):
            raise
        raise VolumeError("not_an_image", f"{path.name} cannot be read as k-space: {error}") from error
    return _checked(samples, mask, path)


def _from_npy(path: Path) -> tuple[Array, Array | None]:
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    _check_size(stored.size, path)
    return np.asarray(stored), None


def _from_h5(path: Path) -> tuple[Array, Array | None]:
    with h5py.File(path, "r") as file:
        if "kspace" in file:
            mask = np.asarray(file["mask"]).astype(bool).ravel() if "mask" in file else None
            _check_size(file["kspace"].size, path)
            return np.asarray(file["kspace"]), mask
        if "dataset" in file and "data" in file["dataset"]:
            return _acquisitions(file["dataset"], path), None
    raise VolumeError(
        "not_an_image", f"{path.name} holds no k-space.", "fastMRI has it as kspace, ISMRMRD as dataset/data."
    )


def _acquisitions(group: Any, path: Path) -> Array:
    """ISMRMRD's acquisitions, one line each, on the encoded grid; repeated ones are averaged."""
    size, trajectory = _encoding(group["xml"][0])
    if trajectory.lower() != "cartesian":
        found = f"{path.name} was measured along a {trajectory} trajectory"
        raise VolumeError("cannot_process", f"{found}; only Cartesian is read.")
    rows = group["data"]
    head = rows["head"]
    places = np.stack([head["idx"]["slice"], head["idx"]["kspace_encode_step_1"]], 1).astype(int)
    coils, readout = int(head["active_channels"].max()), size[0]
    _check_size((places[:, 0].max() + 1) * coils * readout * size[1], path)
    kept = (head["flags"] & NOISE) == 0
    total = np.zeros((places[:, 0].max() + 1, coils, readout, size[1]), np.complex64)
    count = np.zeros((total.shape[0], size[1]), int)
    for number in np.flatnonzero(kept):
        slice_, line = places[number]
        data = np.asarray(rows[int(number)]["data"], np.float32).view(np.complex64).reshape(coils, -1)
        if data.shape[1] != readout or line >= size[1]:
            raise VolumeError("cannot_process", f"{path.name} has lines that are not of its encoded grid, {size}.")
        total[slice_, :, :, line] += data
        count[slice_, line] += 1
    return total / np.maximum(count, 1)[:, None, None, :]


def _encoding(xml: bytes | str) -> tuple[tuple[int, int], str]:
    """Readout and phase-encoding size, and the trajectory."""
    root = ElementTree.fromstring(xml)
    found = {}
    for name in ("encodedSpace", "trajectory"):
        element = root.find(f".//{{*}}encoding/{{*}}{name}")
        if element is None:
            raise VolumeError("not_an_image", f"The ISMRMRD header does not tell its {name}.")
        found[name] = element
    matrix = [found["encodedSpace"].findtext(f"{{*}}matrixSize/{{*}}{axis}") for axis in ("x", "y", "z")]
    x, y, z = (int(text or 1) for text in matrix)
    if z > 1:
        raise VolumeError("cannot_process", "The measurement encodes three dimensions; only slices are read.")
    return (x, y), found["trajectory"].text or ""


def _check_size(samples: int, path: Path) -> None:
    if samples > MOST_SAMPLES:
        sizes = f"{samples / 1e6:.0f} million samples; {MOST_SAMPLES / 1e6:.0f} are the most"
        raise VolumeError("too_large", f"{path.name} holds {sizes}.", "Give fewer slices or coils.")


def _checked(samples: Array, mask: Array | None, path: Path) -> KSpace:
    if not np.iscomplexobj(samples) or not 2 <= samples.ndim <= 4:
        raise VolumeError(
            "not_an_image", f"{path.name} holds {samples.dtype} of shape {samples.shape}, which is no k-space.",
            "It must be complex: (x, y), (slice, x, y) or (slice, coil, x, y).",
        )  # fmt: skip
    if not np.isfinite(samples).all():
        raise VolumeError("cannot_process", f"{path.name} holds values that are not finite.")
    whole = samples.reshape(*[1] * (4 - samples.ndim), *samples.shape) if samples.ndim < 3 else samples
    whole = whole[:, None] if whole.ndim == 3 else whole
    present = (whole != 0).any(axis=(0, 1))
    lines = present.any(0) if mask is None else mask
    if mask is not None and len(mask) != whole.shape[-1]:
        raise VolumeError("cannot_process", f"{path.name} has {whole.shape[-1]} lines and a mask of {len(mask)}.")
    if not lines.any():
        raise VolumeError("cannot_process", f"{path.name} holds nothing but zeros.")
    if mask is None and present[:, lines].mean() < CARTESIAN:
        raise VolumeError(
            "cannot_process", f"{path.name} was not measured line by line: its mask is not Cartesian.",
            "Put the phase-encoding axis last; spirals, radial lines and random points are not reconstructed.",
        )  # fmt: skip
    return KSpace(np.ascontiguousarray(whole * lines, np.complex64), np.asarray(lines, bool))

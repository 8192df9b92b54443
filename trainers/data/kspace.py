"""Cartesian k-space from files: fastMRI and ISMRMRD `.h5`, and `.npy`.

fastMRI: Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI", 2018. ISMRMRD: Inati et al.,
"ISMRM raw data format: a proposed standard for MRI raw datasets", MRM 2017.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from trainers.data.ismrmrd import PixelGrid, read_encoding, read_grid
from trainers.data.volumes import VolumeError

Array = npt.NDArray[Any]
Stored = tuple[Array, Array | None, "bytes | str | None"]
"""Samples, a mask and an ISMRMRD header, if there are."""
SUFFIXES = (".npy", ".h5", ".hdf5")
UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError,
              ElementTree.ParseError, SyntaxError, TokenError)  # fmt: skip
"""What NumPy, h5py and the standard library raise for files that are damaged."""
MOST_SAMPLES = 2**28  # 2 GiB as complex64
CARTESIAN = 0.7
"""Least share of samples that a measured line has; partial echoes leave out some."""
NO_IMAGE = np.uint64(sum(1 << (bit - 1) for bit in (19, 20, 23, 24, 26, 27, 28, 29)))
"""ISMRMRD's flags, counted from 1, of lines that are no part of an image: noise, calibration alone, navigation, phase
correction, feedback of the scanner, dummy scans, surface-coil correction."""
REVERSED = np.uint64(1 << 21)
"""The flag of a line that was read backwards."""


@dataclass(frozen=True)
class KSpace:
    """What a scanner measured.

    Attributes:
        samples: complex64, (slice, coil, readout, phase-encoding line); 0 where not measured.
        lines: which lines were measured, (lines,) bool, the same in all slices and coils.
        grid: where the image's pixels lie, if the file tells.
    """

    samples: npt.NDArray[np.complex64]
    lines: npt.NDArray[np.bool_]
    grid: PixelGrid | None = None

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
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise VolumeError("not_an_image", f"{path.name} is no k-space file.", f"Give one of {', '.join(SUFFIXES)}.")
    try:
        samples, mask, header = _from_npy(path) if suffix == ".npy" else _from_h5(path)
    except VolumeError:
        raise
    except UNREADABLE as error:
        raise VolumeError("not_an_image", f"{path.name} cannot be read as k-space: {error}") from error
    found = _checked(samples, mask, path)
    return found if header is None else replace(found, grid=read_grid(header, found.samples.shape[2:]))


def _from_npy(path: Path) -> Stored:
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    _check_size(stored.size, path)
    return np.asarray(stored), None, None


def _from_h5(path: Path) -> Stored:
    with h5py.File(path, "r") as file:
        if "kspace" in file:
            mask = np.asarray(file["mask"]).astype(bool).ravel() if "mask" in file else None
            _check_size(file["kspace"].size, path)
            return np.asarray(file["kspace"]), mask, file["ismrmrd_header"][()] if "ismrmrd_header" in file else None
        if "dataset" in file and "data" in file["dataset"]:
            return _acquisitions(file["dataset"], path), None, file["dataset"]["xml"][0]
    raise VolumeError(
        "not_an_image", f"{path.name} holds no k-space.", "fastMRI has it as kspace, ISMRMRD as dataset/data."
    )


def _acquisitions(group: Any, path: Path) -> Array:
    """ISMRMRD's acquisitions, one line each, on the encoded grid; repeated averages are averaged."""
    encoding = read_encoding(group["xml"][0])
    if encoding.trajectory.lower() != "cartesian":
        found = f"{path.name} was measured along a {encoding.trajectory} trajectory"
        raise VolumeError("cannot_process", f"{found}; only Cartesian is read.")
    rows = group["data"]
    head = rows["head"]
    chosen = np.flatnonzero((head["flags"] & NO_IMAGE) == 0)
    if not len(chosen):
        raise VolumeError("cannot_process", f"{path.name} holds no lines of an image.")
    head = head[chosen]
    _check_one_image(head, path)
    slices = head["idx"]["slice"].astype(int)
    lines = head["idx"]["kspace_encode_step_1"].astype(int) + encoding.lines // 2 - encoding.centre
    coils = int(head["active_channels"].max())
    shape = (slices.max() + 1, coils, encoding.readout, encoding.lines)
    _check_size(math.prod(int(n) for n in shape), path)
    total, count = np.zeros(shape, np.complex64), np.zeros((shape[0], encoding.lines), int)
    for number, slice_, line in zip(chosen, slices, lines, strict=True):
        data = np.asarray(rows[int(number)]["data"], np.float32).view(np.complex64).reshape(coils, -1)
        if data.shape[1] != encoding.readout or not 0 <= line < encoding.lines:
            grid = f"{encoding.readout} x {encoding.lines}"
            raise VolumeError("cannot_process", f"{path.name} has lines that are not of its encoded grid, {grid}.")
        total[slice_, :, :, line] += data
        count[slice_, line] += 1
    return total / np.maximum(count, 1)[:, None, None, :]


def _check_one_image(head: Array, path: Path) -> None:
    """Raises VolumeError if lines are of several images, or run backwards: they must not be averaged."""
    known = head["idx"].dtype.names or ()
    for name in ("contrast", "phase", "set", "repetition"):
        if name in known and len(np.unique(head["idx"][name])) > 1:
            message = f"{path.name} holds several images, one for each {name}."
            raise VolumeError("cannot_process", message, "Give one of them.")
    if (head["flags"] & REVERSED).any():
        raise VolumeError("cannot_process", f"{path.name} has lines that were read backwards (EPI).")


def _check_size(samples: int, path: Path) -> None:
    if samples > MOST_SAMPLES:
        sizes = f"{samples / 1e6:.0f} million samples; {MOST_SAMPLES / 1e6:.0f} are the most"
        raise VolumeError("too_large", f"{path.name} holds {sizes}.", "Give fewer slices or coils.")


def _checked(samples: Array, mask: Array | None, path: Path) -> KSpace:
    """The samples as (slice, coil, x, y), if they were measured line by line, the same lines in all slices."""
    if not np.iscomplexobj(samples) or not 2 <= samples.ndim <= 4 or not samples.size:
        raise VolumeError(
            "not_an_image", f"{path.name} holds {samples.dtype} of shape {samples.shape}, which is no k-space.",
            "It must be complex: (x, y), (slice, x, y) or (slice, coil, x, y).",
        )  # fmt: skip
    whole = samples[None, None] if samples.ndim == 2 else samples[:, None] if samples.ndim == 3 else samples
    if not all(np.isfinite(part).all() for part in whole):
        raise VolumeError("cannot_process", f"{path.name} holds values that are not finite.")
    if mask is not None and len(mask) != whole.shape[-1]:
        raise VolumeError("cannot_process", f"{path.name} has {whole.shape[-1]} lines and a mask of {len(mask)}.")
    present = np.stack([(part != 0).any(0) for part in whole])
    lines = present.any((0, 1)) if mask is None else mask
    if not present[..., lines].any():
        raise VolumeError("cannot_process", f"{path.name} holds nothing but zeros.")
    if mask is None:
        _check_lines(present, lines, path)
    return KSpace(np.ascontiguousarray(whole * lines, np.complex64), np.asarray(lines, bool))


def _check_lines(present: Array, lines: Array, path: Path) -> None:
    """Raises VolumeError unless what was measured, (slice, x, y), is whole lines, the same in all slices."""
    if (present.any(1) != lines).any():
        message = f"The slices of {path.name} were not measured along the same lines."
        raise VolumeError("cannot_process", message, "Give slices with one mask.")
    if present[..., lines].mean((0, 1)).min() < CARTESIAN or _is_sideways(present):
        raise VolumeError(
            "cannot_process", f"{path.name} was not measured line by line along its last axis: not Cartesian.",
            "Put the phase-encoding axis last; spirals, radial lines and random points are not reconstructed.",
        )  # fmt: skip


def _is_sideways(present: Array) -> bool:
    """Whether whole rows are missing, but no columns: the phase-encoding axis is not the last one."""
    rows, columns = present.any((0, 2)), present.any((0, 1))
    return bool(columns.all() and not rows.all() and present[:, rows].all())

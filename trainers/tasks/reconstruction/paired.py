"""Measurements of slices of which both sides are known beforehand: CT at a lower dose, and another modality.

What is measured of a slice depends on all of it, so that it is made, or read, before patches are cut.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from trainers.data.volumes import VolumeError
from trainers.physics.noise import LowDose
from trainers.tasks.reconstruction.measurement import Measured, Measurement, Scan, Unit

Floats = npt.NDArray[np.float32]
HOUNSFIELD = Unit(0.0, 500.0)
SQUARE = 0.01  # a pixel whose sides differ by more than this share of the longer one is not square
LOWEST, HIGHEST = -1024.0, 3071.0  # HU: twelve bits
PERCENT = Unit(0.0, 100.0)
"""Of the mean signal of tissue: the unit of an MR that was made of something else."""
TISSUE = 0.15  # of the 99th percentile: what is brighter in an MR is tissue
BINS = 48
RANGE = {"CT": (-2.2, 3.0), "MR": (0.0, 4.0)}  # network's numbers over which a lookup table reaches


def numbers_of(modality: str, array: npt.NDArray[Any]) -> Unit:
    """The unit of a network's numbers: half a thousand HU for CT, the mean signal of tissue for MR.

    Raises:
        ValueError: another modality.
    """
    if modality == "CT":
        return HOUNSFIELD
    if modality != "MR":
        raise ValueError(f"There is no unit for {modality}. Known: CT, MR.")
    high = float(np.percentile(array, 99))
    tissue = array[array > TISSUE * high]
    return Unit(0.0, float(tissue.mean()) if tissue.size and high > 0 else 1.0)


def to_numbers(modality: str, array: npt.NDArray[Any]) -> Floats:
    """An image in the network's numbers. Raises VolumeError for values that its modality does not have."""
    check_values(modality, array)
    unit, values = numbers_of(modality, array), np.array(array, np.float32)
    if modality == "CT":
        values.clip(LOWEST, HIGHEST, out=values)
    return unit.brought(values)


def check_values(modality: str, array: npt.NDArray[Any]) -> None:
    """Raises VolumeError for values that a modality does not have."""
    low = array.min()
    if modality == "CT" and low >= 0:
        hint = "Give Hounsfield units: air is about -1000. Rescale slope and intercept were perhaps not applied."
        raise VolumeError("cannot_process", "The CT has no values below 0, so it is not in Hounsfield units.", hint)
    if modality == "MR" and low < 0:
        hint = "Give the magnitude as the scanner has it; a CT has values below 0."
        raise VolumeError("cannot_process", "The image has values below 0; the magnitude of an MR has none.", hint)


def _check_square(spacing: Sequence[float]) -> None:
    """Raises VolumeError unless pixels are square in the slice: all projections have rays of one distance."""
    if abs(spacing[0] - spacing[1]) > SQUARE * max(spacing[:2]):
        sides = f"{spacing[0]:.3g} x {spacing[1]:.3g} mm"
        hint = "Resample the slices to square pixels."
        raise VolumeError("cannot_process", f"The CT has pixels of {sides}; a lower dose needs square ones.", hint)


class Paired(Measurement):
    """A slice and what is to be made of it, both read or made before. The network sees slices."""

    dimensions = 2
    exact = False

    @abstractmethod
    def sources(self, array: npt.NDArray[Any]) -> Floats:
        """What the network is given at each voxel, (k, x, y, z) in its numbers, of an image (x, y, z) as stored.

        Raises:
            VolumeError: values that there are not in images of this kind.
        """

    @property
    @abstractmethod
    def target(self) -> Unit:
        """The unit of what is made."""

    @property
    @abstractmethod
    def units(self) -> str:
        """The name of that unit."""

    def measure(self, image: torch.Tensor, seed: int) -> Measured:
        """What goes with images (b, k, x, y), prepared."""
        return {self.given: image[:, 1:]}

    def as_served(self, image: torch.Tensor, measured: Measured) -> tuple[torch.Tensor, Measured]:
        """As it is: the unit is fixed, or is found of the source alone."""
        return image, measured


@dataclass(frozen=True)
class LowDoseCT(Paired):
    """CT at a lower dose; noise is made in the projections of whole slices.

    Attributes:
        dose: smallest and largest share of the dose that is left; one is drawn for each slice.
        photons: that reach a detector element through air at full dose. electronic: noise of the electronics, photons.
        views: projections over half a turn.
    """

    given: ClassVar[str] = "noisy"
    sequences: tuple[str, ...] = ("CT",)
    dose: tuple[float, float] = (0.05, 0.25)
    photons: float = 2e5
    electronic: float = 8.0
    views: int = 360

    def prepare(self, scan: Scan, seed: int = 0) -> Floats:
        """The slice and what a lower dose makes of it, (2, x, y, z).

        Raises:
            VolumeError: values that are no Hounsfield units, or pixels that are not square.
        """
        check_values("CT", scan.array[0])
        _check_square(scan.spacing)
        clean, random = np.clip(scan.array[0], LOWEST, HIGHEST), np.random.default_rng(seed)
        noisy = np.empty_like(clean)
        for k in range(clean.shape[2]):
            low, high = np.log(self.dose)
            dose = LowDose(self.photons, float(np.exp(random.uniform(low, high))), self.electronic, self.views)
            noisy[..., k] = dose(clean[..., k], scan.spacing[0], random)
        return HOUNSFIELD.to_numbers(np.stack([clean, noisy]))

    def sources(self, array: npt.NDArray[Any]) -> Floats:
        """The slice itself."""
        return to_numbers("CT", array)[None]

    @property
    def target(self) -> Unit:
        """That of what was put in."""
        return HOUNSFIELD

    @property
    def units(self) -> str:
        """Hounsfield units."""
        return "HU"

    def plain(self, measured: Measured) -> dict[str, torch.Tensor]:
        """The noisy image, and Gaussian smoothing with a deviation of 0.7 pixels."""
        noisy = measured["noisy"]
        smooth = ndimage.gaussian_filter(noisy.numpy(), (0, 0, 0.7, 0.7))
        return {"noisy": noisy, "Gaussian": torch.from_numpy(smooth)}

    def residual(self, image: torch.Tensor, measured: Measured) -> torch.Tensor:
        """What was taken away; it should look like noise, without anatomy."""
        return (measured["noisy"] - image).abs()

    def multiple(self) -> tuple[int, ...]:
        """The network works on a grid that is coarser by two."""
        return (2, 2)


@dataclass(frozen=True)
class Translation(Paired):
    """Another modality of the same anatomy, slice by slice; the network sees the slices beside each one too.

    Attributes:
        source, made: modality that is there and that is made, `CT` or `MR`.
        sequences: channels of a data set, the one that is made first.
        curve: mean value of what is made for each value of what is there, over the training images, in BINS steps: all
            that can be known of a voxel without its neighbours.
    """

    given: ClassVar[str] = "source"
    source: str = "CT"
    made: str = "MR"
    sequences: tuple[str, ...] = ("MR_T1", "CT")
    curve: tuple[float, ...] = ()

    def prepare(self, scan: Scan, seed: int = 0) -> Floats:
        """What is to be made, then the source of the slice before, of the slice and of the one after, (4, x, y, z)."""
        return np.concatenate([to_numbers(self.made, scan.array[0])[None], self.sources(scan.array[1])])

    def sources(self, array: npt.NDArray[Any]) -> Floats:
        """The slice before, the slice, the one after; at the ends the slice itself again."""
        numbers = to_numbers(self.source, array)
        padded = np.pad(numbers, [(0, 0), (0, 0), (1, 1)], mode="edge")
        return np.stack([padded[..., :-2], numbers, padded[..., 2:]])

    @property
    def target(self) -> Unit:
        """HU, or percent of the mean signal of tissue."""
        return HOUNSFIELD if self.made == "CT" else PERCENT

    @property
    def units(self) -> str:
        """As people write it."""
        return "HU" if self.made == "CT" else "% of the mean signal of tissue"

    def fitted(self, prepared: Sequence[Floats]) -> Measurement:
        """With the curve of training images."""
        made, source = (np.concatenate([p[c].ravel() for p in prepared]) for c in (0, 2))
        place = self._place(source)
        counts, sums = np.bincount(place, minlength=BINS), np.bincount(place, made, minlength=BINS)
        known = np.flatnonzero(counts)
        curve = np.interp(np.arange(BINS), known, sums[known] / counts[known])
        return replace(self, curve=tuple(round(float(v), 4) for v in curve))

    def plain(self, measured: Measured) -> dict[str, torch.Tensor]:
        """What the curve makes of each voxel by itself; without a curve, the source."""
        source = measured["source"][:, 1:2]
        if not self.curve:
            return {"source": source}
        table = np.asarray(self.curve, np.float32)
        return {"lookup": torch.from_numpy(table[self._place(source.numpy())])}

    def residual(self, image: torch.Tensor, measured: Measured) -> torch.Tensor:
        """Nothing of what is made was measured: 0."""
        return torch.zeros_like(image)

    def _place(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        low, high = RANGE[self.source]
        return np.clip((numbers - low) / (high - low) * BINS, 0, BINS - 1).astype(np.int64)

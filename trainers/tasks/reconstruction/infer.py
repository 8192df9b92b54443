"""Reconstructing a volume of any size and orientation: finer, or without noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainers.data.volumes import Volume, VolumeError
from trainers.devices import pick_device
from trainers.monitor import Monitor
from trainers.physics.sampling import block_average
from trainers.spec import ModelSpec
from trainers.tasks.reconstruction.measurements import measurement_of
from trainers.tasks.reconstruction.run import GAN, Runner, check_strength, load_networks
from trainers.tasks.reconstruction.tiles import Tile, finer, tiles

Floats = npt.NDArray[np.float32]
SMALLEST = 4
THICKER = 1.05  # a slice is thick if it is thicker by this than a voxel is wide
GAN_WARNING = "This image was altered by a GAN; fine detail may be invented."


@dataclass(frozen=True)
class Reconstructed:
    """A better image of what was measured.

    Attributes:
        image: float32, in the input's units, on a grid of its own if it is finer.
        uncertainty: float32 on the same grid: the error that the network expects, or what the adversarial weights
            changed, whichever is more, in the input's units; None if it was not wanted.
        contradiction: relative size of what the image contradicts of the measurement; None for noise, which is all
            contradiction.
        warnings: plain sentences for the clinician.
        beside: what belongs beside the image, by name and on its grid, e.g. a CT in HU and a PET in SUV.
    """

    image: Volume
    uncertainty: Volume | None
    contradiction: float | None
    warnings: list[str]
    beside: Mapping[str, Volume] = field(default_factory=dict)


class Reconstructor(Runner):
    """A reconstruction model that is ready to run on volumes. Safe to call from several threads."""

    def __init__(self, model_dir: Path | str, device: str = "cpu") -> None:
        """Loads `model_dir`. Raises ModelNotAvailable if its spec or weights cannot be used."""
        spec, folder = ModelSpec.load(model_dir), Path(model_dir)
        self._set(spec, load_networks(spec, folder), pick_device(device))

    @classmethod
    def from_networks(cls, spec: ModelSpec, network: nn.Module, gan: nn.Module | None = None) -> Reconstructor:
        """Wraps networks that are in memory, on the device they are on."""
        reconstructor = cls.__new__(cls)
        networks = {"l1": network} if gan is None else {"l1": network, GAN: gan}
        reconstructor._set(spec, networks, next(network.parameters()).device)
        return reconstructor

    def _set(self, spec: ModelSpec, networks: dict[str, nn.Module], device: torch.device) -> None:
        self.spec = spec
        self.take(measurement_of(spec.preprocess), networks, device)

    def __call__(
        self,
        volume: Volume,
        strength: float = 0.0,
        scale: int | None = None,
        monitor: Monitor = Monitor(),
        views: bool = True,
        uncertainty: bool = True,
    ) -> Reconstructed:
        """Reconstructs an image.

        Args:
            volume: as measured, any orientation and size.
            strength: 0 takes the L1 weights, 1 the adversarial ones, between them a blend of both images.
            scale: how much finer, one of the measurement's `scales`; a larger one than the model's own is reached in
                several turns, each of which agrees with the one before.
            monitor: hears `progress`; may cancel.
            views: whether the safe image is the mean over mirrored views, which is better and takes four times as long;
                larger images are looked at once.
            uncertainty: whether it is wanted; the image alone may be made sooner.

        Raises:
            VolumeError: an image too small to look at, or a model that needs k-space. ValueError: a strength or scale
                that there is not.
        """
        if self.measurement.dimensions == 2:
            hint = "Choose a model that makes images finer or cleaner."
            raise VolumeError("cannot_process", f"{self.spec.name} reconstructs k-space, not images.", hint)
        self.check_strength(strength)
        turns = self._turns(scale)
        self.measurement.check(volume.array)
        views = views and self.looks_often(volume.array.size)
        order = order_of(volume.affine, self.measurement.thick_axis)
        array = orientations.apply_orientation(np.asarray(volume.array, np.float32), order)
        if min(array.shape) < SMALLEST:
            raise VolumeError(
                "cannot_process", f"An image of {' x '.join(map(str, array.shape))} voxels is too small.",
                f"Every axis needs at least {SMALLEST} voxels.",
            )  # fmt: skip
        image, doubt = array, None
        for turn in range(turns):
            wanted = uncertainty and turn == turns - 1
            image, doubt = self._turn(image, order, strength, views, wanted, _Share(monitor, turn, turns))
        factors = [f**turns for f in self.measurement.factors]
        grid = _finer_grid(volume, order, array.shape, factors)
        warnings = [GAN_WARNING] if strength > 0 else []
        told = None if doubt is None else back(doubt, order, grid)
        return Reconstructed(back(image, order, grid), told, self._contradiction(image, array, factors), warnings)

    def reconstruct(
        self, images: Mapping[str, Volume], strength: float = 0.0, monitor: Monitor = Monitor(), **options: Any
    ) -> Reconstructed:
        """What every model of this task offers, also those that need several images.

        Args:
            images: by the names of the spec's `inputs`.
            strength: between the safe and the adversarial weights.
            monitor: hears `progress`; may cancel.
            **options: the model's own; here `scale`; `test_time_augmentation` and `uncertainty` are on by default.
        """
        views = bool(options.get("test_time_augmentation", True))
        wanted = bool(options.get("uncertainty", True))
        return self(images["image"], strength, options.get("scale"), monitor, views, wanted)

    @property
    def options(self) -> tuple[str, ...]:
        """Of `reconstruct`, beside `test_time_augmentation`."""
        return ("scale",) if any(scale > 1 for scale in self.measurement.scales) else ()

    def check_strength(self, strength: float) -> None:
        """Raises ValueError for a strength that there is not."""
        check_strength(self.spec, self.names, strength)

    def _turns(self, scale: int | None) -> int:
        if scale is not None and scale not in self.measurement.scales:
            raise ValueError(f"{self.spec.name} has no scale {scale}; choose one of {self.measurement.scales}.")
        return 1 if scale is None or scale == 1 else self.measurement.scales.index(scale) + 1

    def _turn(
        self,
        array: Floats,
        order: npt.NDArray[np.float64],
        strength: float,
        views: bool,
        wanted: bool,
        monitor: Monitor,
    ) -> tuple[Floats, Floats | None]:
        """One pass over a volume, (x, y, z) in its own units: the image and, if it is wanted, its uncertainty."""
        unit, multiple = self.measurement.unit(array), self._multiple()
        padded = np.pad(array, [(0, -n % m) for n, m in zip(array.shape, multiple, strict=True)], mode="edge")
        shape = [n * f for n, f in zip(padded.shape, self.measurement.factors, strict=True)]
        image, doubt = empty(shape, order), empty(shape, order) if wanted else None
        todo = tiles(padded.shape, self.side, self.halo * max(multiple), multiple)
        for number, tile in enumerate(todo):
            monitor.check()
            numbers = unit.to_numbers(padded[tile.seen])
            kept = finer(tile.kept, self.measurement.factors)
            made, error = self._tile(numbers, tile, strength, views, wanted)
            image[kept] = unit.to_values(made)
            if doubt is not None and error is not None:
                doubt[kept] = error * unit.scale
            monitor.report(progress=(number + 1) / len(todo))
        whole = tuple(slice(n * f) for n, f in zip(array.shape, self.measurement.factors, strict=True))
        return image[whole], None if doubt is None else doubt[whole]

    def _tile(
        self, numbers: Floats, tile: Tile, strength: float, views: bool, wanted: bool
    ) -> tuple[Floats, Floats | None]:
        """The image of a tile and, if it is wanted, the expected error, without their surroundings."""
        inner = finer(tile.inner, self.measurement.factors)
        given = {self.measurement.given: torch.from_numpy(numbers)[None, None]}
        if not wanted:
            return self.blend_alone(given, strength, views)[0, 0].float().numpy()[inner], None
        image, error = self.blend(given, strength, views)
        return image[0, 0].float().numpy()[inner], error[0, 0].numpy()[inner]

    def _contradiction(self, image: Floats, array: Floats, factors: Sequence[int]) -> float | None:
        if not self.measurement.exact:
            return None
        total = 0.0
        for k in range(array.shape[2]):
            part = torch.from_numpy(image[:, :, k * factors[2] : (k + 1) * factors[2]].astype(np.float64))
            back = block_average(part[None, None], factors)[0, 0, :, :, 0].numpy()
            total += float(np.square(back - array[:, :, k]).sum())
        return float(np.sqrt(total / max(float(np.square(array, dtype=np.float64).sum()), 1e-30)))


class _Share(Monitor):
    """One turn's share of the progress."""

    def __init__(self, whole: Monitor, turn: int, turns: int) -> None:
        self._whole, self._turn, self._turns = whole, turn, turns

    def report(self, **state: Any) -> None:
        """Tells progress of the whole."""
        self._whole.report(progress=(self._turn + state["progress"]) / self._turns)

    def check(self) -> None:
        """Cancels with the whole."""
        self._whole.check()


def order_of(affine: npt.NDArray[np.float64], thick_last: bool) -> npt.NDArray[np.float64]:
    """The orientation change to the nearest RAS or, for models that know one thick axis, with that one last."""
    order = orientations.io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if thick_last and spacing.max() > THICKER * np.median(spacing):
        axis = int(np.argmax(spacing))
        others = sorted((a for a in range(3) if a != axis), key=lambda a: order[a, 0])
        order[[*others, axis], 0] = [0, 1, 2]
    return order


def _finer_grid(
    volume: Volume, order: npt.NDArray[np.float64], shape: Sequence[int], factors: Sequence[int]
) -> npt.NDArray[np.float64]:
    """The affine of the result in the volume's own order of axes: voxel edges stay where they are."""
    mine = np.ones(3)
    for axis in range(3):
        mine[axis] = factors[int(order[axis, 0])]
    step = np.diag([*(1 / mine), 1.0])
    step[:3, 3] = (1 / mine - 1) / 2
    return np.asarray(volume.affine @ step)


def empty(shape: Sequence[int], order: npt.NDArray[np.float64]) -> Floats:
    """An array in the network's order of axes that lies in memory as a file has it, so that nothing is copied.

    A result is many times larger than what it is made of.
    """
    own = np.empty([shape[int(axis)] for axis in order[:, 0]], np.float32, order="F")
    turned: Floats = orientations.apply_orientation(own, order)
    return turned


def back(array: Floats, order: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]) -> Volume:
    """An array in the order of the network's axes, in the volume's own."""
    inverse = np.array([[int(np.flatnonzero(order[:, 0] == a)[0]), 0] for a in range(3)], float)
    inverse[:, 1] = [order[int(axis), 1] for axis in inverse[:, 0]]
    return Volume(np.asarray(orientations.apply_orientation(array, inverse)), affine)

"""How an image was measured: to simulate it, to invert it plainly, and to check a reconstruction against it.

A model's spec has the name of one in `measurements.MEASUREMENTS` and the settings under `preprocess`, its network takes
by keyword what `measure` returns. Images are (b, 1, *size), brought to the unit that `unit` finds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn.functional import max_pool3d

from trainers.data.volumes import VolumeError
from trainers.networks.blocks import resize
from trainers.physics.kspace import CartesianMask, contradiction, mirrored, to_kspace, zero_filled
from trainers.physics.noise import rician
from trainers.physics.sampling import block_average, spread

Measured = dict[str, torch.Tensor]


class View(NamedTuple):
    """Another way to look at the same images; to look so twice gives them back.

    Attributes:
        axes: of (b, c, *size), along which they are mirrored.
        conjugate: whether complex ones are conjugated.
    """

    axes: tuple[int, ...] = ()
    conjugate: bool = False

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The images in this view."""
        seen = images.flip(self.axes)
        return seen.conj().resolve_conj() if self.conjugate and seen.is_complex() else seen


class Unit(NamedTuple):
    """What a network's numbers are in an image's own: `value = offset + scale * number`."""

    offset: float
    scale: float

    def to_numbers(self, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Values to numbers."""
        return self.brought(np.array(array, np.float32))

    def brought(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Values to numbers, in place: for volumes of which no second copy is to be made."""
        array -= self.offset
        array /= self.scale
        return array

    def to_values(self, numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Numbers to values."""
        values = np.array(numbers, np.float32)
        values *= self.scale
        values += self.offset
        return values


class Scan(NamedTuple):
    """An image as it was stored: `array` (c, x, y, z) in its own units, `spacing` in mm."""

    array: npt.NDArray[np.float32]
    spacing: tuple[float, float, float]


class Measurement(ABC):
    """One way to measure.

    Attributes:
        dimensions: of the images that the network sees: 3, or 2 for slices of a volume.
        exact: whether an image may not contradict the measurement at all.
        magnitude: whether images are magnitudes, which are not negative.
        given: the name of what was measured; beside it there may be a mask.
        factors: how much finer the image is than what was measured, for each axis.
        turns: how often the network is applied, one after the other.
        sequences: channels of a data set that it is about, the image to be made first; none takes the first channel.
        target: the unit of what is made, where it is the same for all images, such as HU; `units` is its name.
    """

    dimensions: ClassVar[int] = 3
    exact: ClassVar[bool] = True
    magnitude: ClassVar[bool] = False
    given: ClassVar[str]
    factors: tuple[int, ...] = (1, 1, 1)
    turns: int = 1
    sequences: tuple[str, ...] = ()

    @property
    def target(self) -> Unit | None:
        """None: each image has a unit of its own."""
        return None

    @property
    def units(self) -> str:
        """For people."""
        return "as the input"

    def prepare(self, scan: Scan, seed: int = 0) -> npt.NDArray[np.float32]:
        """Channels of a scan in the network's numbers, (k, x, y, z): the image, then what goes with it at each voxel.

        Raises:
            VolumeError: values that there are not in images of this kind.
        """
        self.check(scan.array[0])
        return self.unit(scan.array[0]).to_numbers(scan.array[:1])

    def variants(self) -> dict[str, Measurement]:
        """What figures are told of one by one, by name, the most usual first."""
        return {"": self}

    @property
    def other_views(self) -> tuple[View, ...]:
        """In which an image can be looked at, beside the plain one."""
        return tuple(map(View, ((2, 3), (3, 4), (2, 4)) if self.dimensions == 3 else ((2,), (3,), (2, 3))))

    def seen(self, measured: Measured, view: View) -> Measured:
        """What would have been measured of the image in a view."""
        return {name: view(values) for name, values in measured.items()}

    def fitted(self, prepared: Sequence[npt.NDArray[np.float32]]) -> Measurement:
        """The measurement with what its plain inversion learns from training images."""
        return self

    @abstractmethod
    def measure(self, image: torch.Tensor, seed: int) -> Measured:
        """What is measured of images (b, k, *size), prepared; noise and masks depend on the seed alone."""

    @abstractmethod
    def plain(self, measured: Measured) -> dict[str, torch.Tensor]:
        """Images (b, 1, *size) as one has them without a network, by name; the last is the strongest."""

    @abstractmethod
    def residual(self, image: torch.Tensor, measured: Measured) -> torch.Tensor:
        """How far an image (b, 1, *size) contradicts the measurement, at each voxel, in the image's units."""

    def most_doubt(self, measured: Measured) -> torch.Tensor | None:
        """The largest error that is to be expected of each voxel, (b, 1, *size), if the measurement bounds it."""
        return None

    def unit(self, array: npt.NDArray[Any]) -> Unit:
        """Brings a volume to zero mean and unit deviation, a magnitude to a mean square of one; its zero stays zero."""
        if not self.magnitude:
            return Unit(float(array.mean()), float(array.std()) or 1.0)
        return Unit(0.0, float(np.sqrt(np.mean(np.square(np.abs(array), dtype=np.float64)))) or 1.0)

    def as_served(self, image: torch.Tensor, measured: Measured) -> tuple[torch.Tensor, Measured]:
        """Brings both to the unit that is found where the truth is not known, of what was measured alone."""
        unit = self.unit(measured[self.given].numpy())
        return (image - unit.offset) / unit.scale, {
            key: value if key == "mask" else (value - unit.offset) / unit.scale for key, value in measured.items()
        }

    def check(self, array: npt.NDArray[Any]) -> None:
        """Raises VolumeError for values that there are not in images of this kind."""
        if self.magnitude and array.min() < 0:
            hint = "Give the magnitude as the scanner has it; a CT has none."
            raise VolumeError("cannot_process", "The image has values below 0; the magnitude of an MR has none.", hint)

    def multiple(self) -> tuple[int, ...]:
        """Sizes must be multiples of these."""
        return (1,) * self.dimensions

    @property
    def thick_axis(self) -> bool:
        """Whether what was measured is coarser along one axis than along others; that is the last one."""
        return len(set(self.factors)) > 1

    @property
    def scales(self) -> list[int]:
        """How much finer an image can be asked for: once, and in two turns; 1 alone if it keeps the grid."""
        factor = max(self.factors)
        return [1] if factor == 1 else [factor, factor**2]


@dataclass(frozen=True)
class SuperResolution(Measurement):
    """Voxels that are larger by whole factors, each the mean over the fine ones in it.

    Attributes:
        factors: of one turn of the network. turns: how often voxels are larger by them.
    """

    given = "coarse"
    factors: tuple[int, ...] = (2, 2, 2)
    turns: int = field(default=1, repr=False)

    def measure(self, image: torch.Tensor, seed: int) -> Measured:
        """`coarse`, (b, 1, *size / factors)."""
        return {"coarse": block_average(image, self._all)}

    def plain(self, measured: Measured) -> dict[str, torch.Tensor]:
        """Linear and cubic interpolation."""
        coarse = measured["coarse"]
        size = [n * f for n, f in zip(coarse.shape[2:], self._all, strict=True)]
        return {"linear": resize(coarse, size), "cubic": cubic(coarse, self._all)}

    def residual(self, image: torch.Tensor, measured: Measured) -> torch.Tensor:
        """Difference of the block averages."""
        return spread((block_average(image, self._all) - measured["coarse"]).abs(), self._all)

    def most_doubt(self, measured: Measured) -> torch.Tensor:
        """Half of the contrast of the coarse voxels around: the error of a fine one is hardly ever more.

        A network that learned from tissue alone is unsure of what it has not seen, such as air, where nothing can be
        far off.
        """
        coarse = measured["coarse"]
        contrast = max_pool3d(coarse, 3, 1, 1) + max_pool3d(-coarse, 3, 1, 1)
        return spread(contrast / 2, self.factors)

    def multiple(self) -> tuple[int, ...]:
        """Whole blocks."""
        return self._all

    def variants(self) -> dict[str, Measurement]:
        """One turn and two."""
        return {f"{max(self.factors) ** n}x": replace(self, turns=n) for n in (1, 2)}

    @property
    def _all(self) -> tuple[int, ...]:
        return tuple(f**self.turns for f in self.factors)


@dataclass(frozen=True)
class Undersampling(Measurement):
    """Slices of MR of which not all phase-encoding lines are measured.

    Attributes:
        accelerations, kinds: one of each is drawn for each batch. centre: share of central lines.
        phase: largest turn, radians, of the smooth phase that a magnitude image is given, as coils and field do;
            without one, k-space is symmetric and half of it comes for nothing.
    """

    dimensions = 2
    magnitude = True
    given = "kspace"
    accelerations: tuple[float, ...] = (4.0,)
    kinds: tuple[str, ...] = ("random", "equispaced")
    centre: float = 0.08
    phase: float = 1.5

    def measure(self, image: torch.Tensor, seed: int) -> Measured:
        """`kspace` complex (b, 1, x, y), 0 where not measured, and `mask` (b, 1, 1, y)."""
        random = np.random.default_rng(seed)
        mask = CartesianMask(
            float(random.choice(self.accelerations)), str(random.choice(self.kinds)), self.centre
        ).lines(image.shape[-1], int(random.integers(2**31)))
        lines = torch.from_numpy(mask).to(image).expand(len(image), 1, 1, -1)
        complex_image = image if image.is_complex() else image * self._phase(image.shape, random)
        return {"kspace": to_kspace(complex_image) * lines, "mask": lines}

    def plain(self, measured: Measured) -> dict[str, torch.Tensor]:
        """The zero-filled image's magnitude."""
        return {"zero-filled": zero_filled(measured["kspace"], measured["mask"]).abs()}

    def residual(self, image: torch.Tensor, measured: Measured) -> torch.Tensor:
        """|M (F x - y)|, in k-space."""
        return contradiction(image, measured["kspace"], measured["mask"])

    def variants(self) -> dict[str, Measurement]:
        """One for each acceleration, that next to 4 first."""
        ordered = sorted(self.accelerations, key=lambda a: abs(a - 4))
        return {f"{a:g}x": replace(self, accelerations=(a,)) for a in ordered}

    @property
    def other_views(self) -> tuple[View, ...]:
        """Mirrored along the readout, the lines, or both, and each of them, and the plain one, conjugated too."""
        plain = super().other_views
        return (*plain, *(view._replace(conjugate=True) for view in (View(), *plain)))

    def seen(self, measured: Measured, view: View) -> Measured:
        """See there."""
        axes = [axis - 4 for axis in view.axes]
        kspace, mask = mirrored(measured["kspace"], measured["mask"], axes, view.conjugate)
        return {"kspace": kspace, "mask": mask}

    def _phase(self, shape: Sequence[int], random: np.random.Generator) -> torch.Tensor:
        """exp(i p) of a quadratic polynomial p over each slice."""
        x, y = (torch.linspace(-1, 1, n) for n in shape[-2:])
        basis = torch.stack([t.expand(*shape[-2:]) for t in (x[:, None], y, x[:, None] * y, x[:, None] ** 2, y**2)])
        weights = torch.from_numpy(random.uniform(-1, 1, (shape[0], len(basis)))).float() * self.phase / 2
        turn = torch.einsum("bk,kxy->bxy", weights, basis)[:, None]
        return torch.polar(torch.ones_like(turn), turn)


@dataclass(frozen=True)
class Noise(Measurement):
    """Magnitude noise of a weak field.

    Attributes:
        deviation: smallest and largest standard deviation of the noise, in roots of the image's mean square.
    """

    exact = False
    magnitude = True
    given = "noisy"
    deviation: tuple[float, float] = (0.1, 0.5)

    def measure(self, image: torch.Tensor, seed: int) -> Measured:
        """`noisy`, (b, 1, *size): the magnitude under Rician noise."""
        random = torch.Generator().manual_seed(seed)
        low, high = self.deviation
        size = low + (high - low) * torch.rand(len(image), *[1] * (image.ndim - 1), generator=random)
        return {"noisy": rician(image, size, random)}

    def plain(self, measured: Measured) -> dict[str, torch.Tensor]:
        """The noisy image, and Gaussian smoothing with a deviation of 0.7 voxels."""
        noisy = measured["noisy"]
        smooth = ndimage.gaussian_filter(noisy.numpy(), (0, 0, *[0.7] * (noisy.ndim - 2)))
        return {"noisy": noisy, "Gaussian": torch.from_numpy(smooth)}

    def residual(self, image: torch.Tensor, measured: Measured) -> torch.Tensor:
        """What was taken away; it should look like noise, without anatomy."""
        return (measured["noisy"] - image).abs()

    def multiple(self) -> tuple[int, ...]:
        """The network works on a grid that is coarser by two."""
        return (2,) * self.dimensions


def cubic(coarse: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Cubic spline interpolation of (b, c, *size) on a grid finer by whole factors, voxel edges on voxel edges."""
    images = coarse.flatten(0, 1).numpy()
    fine = np.stack([ndimage.zoom(image, factors, order=3, mode="nearest", grid_mode=True) for image in images])
    return torch.from_numpy(fine.astype(np.float32)).reshape(*coarse.shape[:2], *fine.shape[1:])

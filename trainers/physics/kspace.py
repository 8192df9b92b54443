"""Cartesian magnetic resonance: k-space, sampling masks, and reconstructions that keep what was measured.

Images and k-space are complex tensors (..., x, y); both are centred, and the transform is unitary, so that noise has
the same size in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

PLANE = (-2, -1)
KINDS = ("random", "equispaced")


def to_kspace(image: torch.Tensor) -> torch.Tensor:
    """Image to k-space: the centred unitary Fourier transform over the last two axes."""
    return _centred(torch.fft.fftn, image)


def to_image(kspace: torch.Tensor) -> torch.Tensor:
    """K-space to image, the inverse of `to_kspace`."""
    return _centred(torch.fft.ifftn, kspace)


@dataclass(frozen=True)
class CartesianMask:
    """Which phase-encoding lines are measured.

    Attributes:
        acceleration: number of all lines over that of measured ones.
        kind: `random`, as in the fastMRI knee set, or `equispaced`, as in its brain set and most scanners.
        centre: share of lines in the middle that are always measured.
    """

    acceleration: float = 4.0
    kind: str = "random"
    centre: float = 0.08

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no mask {self.kind!r}. Known: {', '.join(KINDS)}.")
        if self.acceleration < 1 or not 0 <= self.centre <= 1:
            raise ValueError(
                "An acceleration is at least 1 and a share of central lines between 0 and 1; got "
                f"{self.acceleration:g} and {self.centre:g}."
            )

    def lines(self, count: int, seed: int = 0) -> npt.NDArray[np.bool_]:
        """Which of `count` lines are measured.

        As Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI", 2018, have them: the central
        lines, and of the others as many, at random or evenly spaced from a random one on, that the acceleration holds.
        """
        middle = max(1, round(count * self.centre))
        wanted = max(middle, round(count / self.acceleration))
        start = count // 2 - middle // 2
        lines = np.zeros(count, bool)
        lines[start : start + middle] = True
        others = np.flatnonzero(~lines)
        random = np.random.default_rng(seed)
        if self.kind == "random":
            chosen = random.permutation(len(others))[: wanted - middle]
        else:
            chosen = _even(len(others), wanted - middle, random.random())
        lines[others[chosen]] = True
        return lines


def zero_filled(kspace: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The image with zeros for what was not measured: where every reconstruction begins."""
    return to_image(kspace * mask)


def keep_measured(image: torch.Tensor, kspace: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The image nearest to `image` with exactly the measured k-space.

    Hard data consistency, k = (1 - M) F(x) + M y: that of Schlemper et al., "A deep cascade of convolutional neural
    networks for dynamic MR image reconstruction", IEEE TMI 2018, for measurements without noise.

    Args:
        image: complex (..., x, y).
        kspace: measured, complex, of the same shape; where `mask` is 0 it does not matter.
        mask: 1 where measured, of a shape that spreads to it.
    """
    return to_image(torch.where(mask.bool(), kspace, to_kspace(image)))


def mirrored(
    kspace: torch.Tensor, mask: torch.Tensor, axes: Sequence[int], conjugate: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """K-space and mask as they would have been measured of the mirrored image; mirroring twice gives them back.

    The lines that were measured lie opposite then, and the phase of each grows with its distance from the middle. They
    do so too if the phase of the image is turned around.

    Args:
        kspace: complex (..., x, lines), 0 where not measured.
        mask: 1 where measured, (..., 1, lines).
        axes: of the image, of -2 (the readout) and -1 (the lines).
        conjugate: whether the image is conjugated too.
    """
    if (-1 in axes) != conjugate:
        shift = 1 if mask.shape[-1] % 2 == 0 else 0  # of an even number the outermost line has no opposite
        mask = mask.flip(-1).roll(shift, -1)
    image = to_image(kspace).flip(tuple(axes))
    return to_kspace(image.conj() if conjugate else image) * mask, mask


def contradiction(image: torch.Tensor, kspace: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """How far an image's k-space is from what was measured: |M (F x - y)|, of the shape of the image."""
    return ((to_kspace(image) - kspace) * mask).abs()


def _even(count: int, wanted: int, start: float) -> npt.NDArray[np.int64]:
    """`wanted` of `count` indices, evenly spaced."""
    if wanted <= 0:
        return np.zeros(0, np.int64)
    return np.floor((np.arange(wanted) + start) * count / wanted).astype(np.int64)


def _centred(transform: Callable[..., torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    shifted = torch.fft.ifftshift(values, dim=PLANE)
    return torch.fft.fftshift(transform(shifted, dim=PLANE, norm="ortho"), dim=PLANE)

"""Noise in physical units: magnitude noise of weak-field MR, and what a lower X-ray dose does to a CT."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

WATER_PER_MM = 0.0193
"""Attenuation of water at 70 keV, about the mean energy of a 120 kVp spectrum: NIST XCOM, 0.193 per cm."""
LARGEST_LINE = 12.0
"""Longest attenuation line integral that is told apart from none at all: exp(-12) is six photons in a million."""


def rician(image: torch.Tensor, deviation: float | torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Magnitude of a real image under complex Gaussian noise.

    M = |A + n1 + i n2|, whose density is equation 1 of Gudbjartsson and Patz, "The Rician distribution of noisy MRI
    data", MRM 1995.

    Args:
        image: not negative, any shape.
        deviation: of n1 and of n2, in the image's units.
        random: of the noise.
    """
    one, two = (torch.randn(image.shape, generator=random, dtype=image.dtype) * deviation for _ in range(2))
    return torch.sqrt((image + one) ** 2 + two**2)


@dataclass(frozen=True)
class LowDose:
    """A CT at a lower dose, simulated in its projections, parallel beams.

    After Zeng et al., "A simple low-dose x-ray CT simulation from high-dose scan", IEEE TNS 2015: Poisson noise of the
    photons and Gaussian noise of the electronics; what they change is filtered back and added to the image.

    Attributes:
        photons: that reach a detector element through air at full dose.
        dose: share of it that is left.
        electronic: standard deviation of the electronics' noise, in photons.
        views: projections over half a turn.
    """

    photons: float = 2e5
    dose: float = 0.1
    electronic: float = 8.0
    views: int = 360

    def __call__(
        self, image: npt.NDArray[np.floating], spacing: float, random: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Adds the noise of the lower dose to a slice.

        Args:
            image: (x, y), HU, of a scan at full dose.
            spacing: pixel size, mm.
            random: of the noise.

        Returns:
            (x, y), HU.
        """
        slice_ = torch.from_numpy(np.ascontiguousarray(image, np.float32))
        attenuation = (slice_.clamp(min=-1000) / 1000 + 1) * WATER_PER_MM
        angles = torch.arange(self.views) * (math.pi / self.views)
        lines = project(attenuation, angles) * spacing
        noisy = self._measured(lines.numpy(), random)
        difference = back_project_filtered(torch.from_numpy(noisy) - lines, angles, image.shape, spacing)
        return (slice_ + difference * (1000 / WATER_PER_MM)).numpy()

    def _measured(self, lines: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
        """Line integrals from noisy counts."""
        sent = self.photons * self.dose
        counts = random.poisson(sent * np.exp(-lines)) + random.normal(0, self.electronic, lines.shape)
        return np.minimum(-np.log(np.maximum(counts, 1) / sent), LARGEST_LINE).astype(np.float32)


def project(image: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Parallel projections, in voxels: sums along lines through a slice.

    Args:
        image: (x, y).
        angles: (v,), radians.

    Returns:
        (v, n), n the slice's diagonal, odd.
    """
    size = _width(image.shape)
    pad = [(size - n) for n in image.shape]
    square = functional.pad(image, (pad[1] // 2, pad[1] - pad[1] // 2, pad[0] // 2, pad[0] - pad[0] // 2))
    return torch.stack([_turned(square, float(angle)).sum(0) for angle in angles])


def back_project_filtered(
    lines: torch.Tensor, angles: torch.Tensor, shape: tuple[int, ...], spacing: float
) -> torch.Tensor:
    """Filtered back-projection with the ramp filter: Kak and Slaney, "Principles of CT imaging", 1988, equation 3.29.

    Args:
        lines: (v, n), as of `project`, times spacing.
        angles: (v,), radians, evenly over half a turn.
        shape: of the slice.
        spacing: pixel size, mm.

    Returns:
        (x, y), per mm.
    """
    count, width = lines.shape
    filtered = _ramp(lines, spacing)
    total = torch.zeros(width, width)
    for row, angle in zip(filtered, angles, strict=True):
        total += _turned(row.expand(width, width), -float(angle))
    total *= math.pi / count
    starts = [(width - n) // 2 for n in shape]
    return total[starts[0] : starts[0] + shape[0], starts[1] : starts[1] + shape[1]]


def _ramp(lines: torch.Tensor, spacing: float) -> torch.Tensor:
    """Convolves with the ramp filter, made in space to keep its mean right: Kak and Slaney, equation 3.61."""
    width = lines.shape[1]
    length = 2 ** math.ceil(math.log2(2 * width))
    place = torch.arange(length)
    place = torch.minimum(place, length - place).float()
    kernel = torch.where(place % 2 == 1, -1 / (math.pi * place.clamp(min=1) * spacing) ** 2, torch.zeros(length))
    kernel[0] = 1 / (4 * spacing**2)
    spectrum = torch.fft.rfft(lines, length) * torch.fft.rfft(kernel)
    return torch.fft.irfft(spectrum, length)[:, :width] * spacing


def _turned(square: torch.Tensor, angle: float) -> torch.Tensor:
    """A square slice turned about its middle."""
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]])
    size = (1, 1, *square.shape)
    grid = functional.affine_grid(matrix, list(size), align_corners=True)
    return functional.grid_sample(square[None, None], grid, align_corners=True)[0, 0]


def _width(shape: tuple[int, ...]) -> int:
    return math.ceil(math.hypot(*shape)) // 2 * 2 + 1

"""How usual an image looks as a whole: the energy of its detail, region by region, among healthy images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import nn

from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.methods.reading import smooth

LEAST = 1e-5  # energy of what is perfectly flat
BATCH = 64
POOLS: dict[int, Callable[..., torch.Tensor]] = {
    2: nn.functional.adaptive_avg_pool2d, 3: nn.functional.adaptive_avg_pool3d,
}  # fmt: skip


class TypicalDetail(nn.Module):
    """The distance of an image from healthy ones, by the logarithm of the energy of its detail.

    An image is parted into bands by differences of Gaussians (Burt and Adelson, IEEE Trans. Communications 1983), each
    band's energy is averaged over the cells of a grid, and a Gaussian tells how usual the whole is: the Mahalanobis
    distance with the covariance of Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", J. Multivariate Analysis 2004. Both more and less detail than is usual count, which a residual does not
    see: images too smooth are restored better than healthy ones (Nalisnick et al., "Detecting out-of-distribution
    inputs to deep generative models using typicality", 2019, say so of likelihoods).

    Args:
        grid: cells along each axis. sigmas: of the Gaussians between bands, voxels.
        channels: of the images.
    """

    def __init__(self, grid: Sequence[int], sigmas: Sequence[float] = (0.7, 1.4, 2.8), channels: int = 1) -> None:
        super().__init__()
        self.grid, self.sigmas = tuple(grid), tuple(sigmas)
        number = int(np.prod(grid)) * len(sigmas) * channels
        self.mean: torch.Tensor
        self.precision: torch.Tensor
        self.register_buffer("mean", torch.zeros(number))
        self.register_buffer("precision", torch.eye(number))

    @torch.inference_mode()
    def learn(self, images: Floats) -> None:
        """Takes healthy images, (n, channel, *size) in [-1, 1]."""
        known = torch.cat([self.energies(part) for part in torch.from_numpy(images).split(BATCH)]).double().numpy()
        covariance, _ = ledoit_wolf(known)
        self.mean.copy_(torch.from_numpy(known.mean(0)))
        self.precision.copy_(torch.from_numpy(np.linalg.inv(covariance)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The distance of images (b, channel, *size), (b,): about 1 for healthy ones, whatever the number of cells."""
        apart = self.energies(image) - self.mean
        return torch.einsum("bi,ij,bj->b", apart, self.precision, apart).clamp(min=0).sqrt() / len(self.mean) ** 0.5

    def energies(self, image: torch.Tensor) -> torch.Tensor:
        """Logarithm of the energy of each channel, band and cell: (b, number)."""
        coarse, found = image, []
        for sigma in self.sigmas:
            coarser = smooth(image, sigma)
            cells = POOLS[len(self.grid)]((coarse - coarser).square(), self.grid)
            found.append((cells + LEAST).log().flatten(1))
            coarse = coarser
        return torch.cat(found, 1)

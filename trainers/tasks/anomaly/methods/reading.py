"""What a method tells of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.networks.layers import GaussianFilter


class Reading(NamedTuple):
    """What is not as in healthy images.

    Attributes:
        heat: at each voxel, (b, 1, *size); higher is less usual. score: of the whole image, (b,).
    """

    heat: torch.Tensor
    score: torch.Tensor


def smooth(heat: torch.Tensor, sigma: float) -> torch.Tensor:
    """A map (b, c, *size) without its finest grain; `sigma` in voxels. Its edges are repeated beyond it."""
    dimensions, reach = heat.ndim - 2, 4 * max(1, round(sigma))
    padded = torch.nn.functional.pad(heat, [reach] * 2 * dimensions, mode="replicate")
    filtered: torch.Tensor = GaussianFilter(dimensions, sigma).to(heat.device)(padded)
    for axis, size in enumerate(heat.shape[2:], 2):
        filtered = filtered.narrow(axis, reach, size)
    return filtered

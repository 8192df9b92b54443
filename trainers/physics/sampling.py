"""Coarse and fine grids: the average over the fine voxels that lie in a coarse one, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def block_average(image: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """What a scanner with larger voxels measures, if a voxel's value is the mean over its volume.

    Args:
        image: (b, c, *size).
        factors: fine voxels that a coarse one is wide, for each axis.

    Returns:
        (b, c, *size / factors).

    Raises:
        ValueError: a size is no multiple of its factor.
    """
    check_factors(image.shape[2:], factors)
    return _POOL[len(factors)](image, tuple(factors))


def spread(coarse: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Gives each fine voxel the value of the coarse one that it lies in: the pseudo-inverse of `block_average`.

    With A the average over blocks of n voxels, A Aᵀ = I / n, so that its pseudo-inverse Aᵀ (A Aᵀ)⁻¹ = n Aᵀ repeats.
    """
    for axis, factor in enumerate(factors, 2):
        coarse = coarse.repeat_interleave(factor, axis)
    return coarse


def back_project(image: torch.Tensor, coarse: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """The image nearest to `image` whose block averages are exactly `coarse`.

    x + A⁺ (y - A x): the iterative back-projection of Irani and Peleg, "Improving resolution by image registration",
    CVGIP 1991, with the pseudo-inverse as its kernel, so that one step is enough.

    Args:
        image: (b, c, *size).
        coarse: (b, c, *size / factors).
        factors: as for `block_average`.
    """
    return image + spread(coarse - block_average(image, factors), factors)


def check_factors(size: Sequence[int], factors: Sequence[int]) -> None:
    """Raises ValueError unless each size is a multiple of its factor."""
    if len(size) != len(factors) or any(f < 1 for f in factors):
        raise ValueError(f"{len(size)} axes need as many factors of at least 1; got {tuple(factors)}.")
    if any(n % f for n, f in zip(size, factors, strict=True)):
        raise ValueError(f"An image of {tuple(size)} voxels has no blocks of {tuple(factors)}; crop it to a multiple.")

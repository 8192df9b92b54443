"""Random views of images that keep who is shown, and degradations that spoil how it is shown.

All take and return batches (n, channel, *spatial) in [-1, 1], 2D or 3D, and draw from the generator they are given.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

DEGRADATIONS = ("clean", "blurred", "noisy", "warped", "checkered")


def random_view(
    images: torch.Tensor, random: torch.Generator, rotate: float = 0.15, scale: float = 0.12, translate: float = 0.08
) -> torch.Tensor:
    """Slightly turned, scaled and shifted images with a mild change of brightness and contrast; no blur, no noise.

    Args:
        images: (n, channel, *spatial).
        random: source of chance.
        rotate: largest angle, radians.
        scale: largest relative change of size.
        translate: largest shift, of the size.
    """
    n, dims = len(images), images.ndim - 2
    matrices = _rotations(n, dims, rotate, random) * (1 + _uniform((n, 1, 1), scale, random))
    shifts = 2 * _uniform((n, dims, 1), translate, random)
    grid = functional.affine_grid(torch.cat([matrices, shifts], 2), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return random_intensity(moved, random)


def random_intensity(images: torch.Tensor, random: torch.Generator, amount: float = 0.1) -> torch.Tensor:
    """A gain within 1 +- amount and an offset within +- amount for each image, kept in [-1, 1]."""
    shape = (len(images),) + (1,) * (images.ndim - 1)
    gain, offset = 1 + _uniform(shape, amount, random), _uniform(shape, amount, random)
    return (images * gain + offset).clamp(-1, 1)


def degrade(images: torch.Tensor, kinds: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image spoilt in its own way and strength.

    Args:
        images: (n, channel, *spatial).
        kinds: index into `DEGRADATIONS` of each image, (n,).
        random: source of chance.
    """
    ways = (_clean, _blurred, _noisy, _warped, _checkered)
    out = images.clone()
    for index, way in enumerate(ways):
        chosen = kinds == index
        if chosen.any():
            out[chosen] = way(images[chosen], random)
    return out


def blur(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of each image by its own standard deviation, (n,), voxels; the edge is repeated outwards."""
    radius = max(1, min(math.ceil(3 * float(sigmas.max())), min(images.shape[2:]) - 1))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernels = torch.exp(-0.5 * (offsets / sigmas.clamp_min(1e-3)[:, None]) ** 2)
    kernels = kernels / kernels.sum(1, keepdim=True)
    for axis in range(2, images.ndim):
        images = _along(images, kernels, radius, axis)
    return images


def _along(images: torch.Tensor, kernels: torch.Tensor, radius: int, axis: int) -> torch.Tensor:
    """Each image (n, ...) filtered along one axis by its own kernel (n, width)."""
    lines = images.movedim(axis, -1)
    flat = functional.pad(lines.reshape(1, len(images), -1, lines.shape[-1]), (radius, radius, 0, 0), mode="replicate")
    done = functional.conv2d(flat, kernels[:, None, None, :], groups=len(images))
    return done.reshape(lines.shape).movedim(-1, axis)


def _clean(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return images


def _blurred(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return blur(images, 0.4 + 1.1 * torch.rand(len(images), generator=random))


def _noisy(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    strength = 0.02 + 0.23 * torch.rand((len(images),) + (1,) * (images.ndim - 1), generator=random)
    return (images + strength * torch.randn(images.shape, generator=random)).clamp(-1, 1)


def _warped(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Moved by a smooth field with knots about 6 voxels apart, up to 0.15 of that distance and a half of it."""
    n, dims, size = len(images), images.ndim - 2, images.shape[2:]
    knots = [max(3, s // 6) for s in size]
    field = torch.randn((n, dims, *knots), generator=random)
    field = functional.interpolate(field, size=list(size), mode="bilinear" if dims == 2 else "trilinear")
    strength = 1 + 2 * torch.rand((n,) + (1,) * (dims + 1), generator=random)  # voxels
    steps = torch.tensor([2.0 / s for s in reversed(size)])
    still = torch.eye(dims, dims + 1).expand(n, dims, dims + 1)
    grid = functional.affine_grid(still, list(images.shape), align_corners=False)
    grid = grid + (strength * field).movedim(1, -1) * steps
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _checkered(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """With the pattern of every other voxel that transposed convolutions leave (Odena et al. 2016)."""
    pattern = torch.ones(1)
    for size in images.shape[2:]:
        pattern = pattern[..., None] * (1 - 2 * (torch.arange(size) % 2))
    strength = 0.02 + 0.15 * torch.rand((len(images),) + (1,) * (images.ndim - 1), generator=random)
    return (images + strength * pattern).clamp(-1, 1)


def _rotations(n: int, dims: int, largest: float, random: torch.Generator) -> torch.Tensor:
    """Rotation matrices (n, dims, dims) by a random angle in every plane of two axes."""
    total = torch.eye(dims).repeat(n, 1, 1)
    for a in range(dims):
        for b in range(a + 1, dims):
            angle = _uniform((n,), largest, random)
            turn = torch.eye(dims).repeat(n, 1, 1)
            turn[:, a, a] = turn[:, b, b] = torch.cos(angle)
            turn[:, a, b], turn[:, b, a] = -torch.sin(angle), torch.sin(angle)
            total = total @ turn
    return total


def _uniform(shape: tuple[int, ...], largest: float, random: torch.Generator) -> torch.Tensor:
    """Even chance within +- largest."""
    return largest * (2 * torch.rand(shape, generator=random) - 1)

"""What a fused image should keep of its two sources. There is no true one, so each loss says what is good of it.

Images are (b, 1, x, y) of 0 to 1. All return scalars that are less the better.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from trainers.metrics import fusion as metrics

NOISE = metrics.VISUAL_NOISE / 255.0**2
STABLE = (0.01**2, 0.03**2)
"""C1 and C2 of SSIM: Wang et al. 2004, equation 13."""
TINY = 1e-8
PARTS = (1.0, 0.35)  # of a picture that an image may be
BINS = 64  # of a histogram
COARSE = 4  # pixels of an image to one of the coarse image that `layout` looks at


class Moments(NamedTuple):
    """Means, variances and covariances with the fused image over windows, each (b, 1, x, y)."""

    fused: Tensor
    source: Tensor
    fused_variance: Tensor
    source_variance: Tensor
    both: Tensor


def structure(fused: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """1 - SSIM, the mean over both sources.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", TIP 2004, equation 13.
    """
    found = [_similarity(moments).mean() for moments in _moments(fused, one, two, 11, 1.5)]
    return 1 - torch.stack(found).mean()


def layout(fused: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """1 - contrast and structure of SSIM on images that are coarser by four: what is wide, such as uptake, must stay.

    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", ACSSC 2003, equation 7,
    without luminance and at one scale alone.
    """
    coarse = [functional.avg_pool2d(x, COARSE) for x in (fused, one, two)]
    found = [
        ((2 * m.both + STABLE[1]) / (m.fused_variance + m.source_variance + STABLE[1])).mean()
        for m in _moments(coarse[0], coarse[1], coarse[2], 11, 1.5)
    ]
    return 1 - torch.stack(found).mean()


def fidelity(fused: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """Minus the visual information fidelity of each source in the fused image, the mean over both.

    Sheikh and Bovik, "Image information and visual quality", TIP 2006, equation 8, in the pixel domain on four scales,
    as `trainers.metrics.fusion.visual_information`.
    """
    told = whole = torch.zeros(2, len(fused), device=fused.device)
    for scale in range(4):
        side = 2 ** (4 - scale) + 1
        if scale:
            fused, one, two = (_smooth(x, side, side / 5, 2) for x in (fused, one, two))
        if min(fused.shape[2:]) < side:
            break
        parts = [_information(moments) for moments in _moments(fused, one, two, side, side / 5)]
        told = told + torch.stack([part[0] for part in parts])
        whole = whole + torch.stack([part[1] for part in parts])
    return -(told / whole.clamp(min=TINY)).mean()


def edges(fused: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """1 - Qabf: how much of the sources' edges is lost in strength and orientation, weighted by their strength.

    Xydeas and Petrovic, "Objective image fusion performance measure", Electronics Letters 2000, equations 1 to 7, with
    the constants of `trainers.metrics.fusion`, for each image, then the mean.
    """
    found, *sources = (_edges(image) for image in (fused, one, two))
    kept = torch.stack([(_preserved(source, found) * source[0]).sum((1, 2, 3)) for source in sources]).sum(0)
    return 1 - (kept / torch.stack([source[0].sum((1, 2, 3)) for source in sources]).sum(0).clamp(min=TINY)).mean()


def intensity(fused: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """Mean distance from the brighter of both.

    Tang et al., "PIAFusion: a progressive infrared and visible image fusion network", Information Fusion 2022, the
    auxiliary intensity loss.
    """
    return (fused - torch.maximum(one, two)).abs().mean()


def uptake(fused: Tensor, hot: Tensor) -> Tensor:
    """How much darker than a PET the fused image is, on average: no uptake may be hidden by anatomy."""
    return functional.relu(hot - fused).mean()


def contrast(fused: Tensor, one: Tensor, two: Tensor, wanted: float) -> Tensor:
    """How much the standard deviation falls short of `wanted` times the largest of the sources and their maximum.

    Of the image, and of one of which it is only a part and all else is black, as around a head: there, what makes an
    image darker makes it flatter.
    """
    short = []
    for part in PARTS:
        largest = torch.stack([_deviation(x, part) for x in (one, two, torch.maximum(one, two))]).amax(0)
        short.append(functional.relu(wanted * largest - _deviation(fused, part)).mean())
    return torch.stack(short).mean()


def entropy(fused: Tensor, one: Tensor, two: Tensor, wanted: float) -> Tensor:
    """How many bits the entropy of the greys falls short of `wanted` times that of the brighter of both.

    Of a histogram in which each value counts for the two bins next to it, by how near they are.
    """
    return functional.relu(wanted * _entropy(torch.maximum(one, two)) - _entropy(fused)).mean()


def overflow(fused: Tensor) -> Tensor:
    """How far values lie outside 0 to 1, on average."""
    return (fused - fused.clamp(0, 1)).abs().mean()


def _deviation(image: Tensor, part: float) -> Tensor:
    """Of images that are that part of larger ones, which are black elsewhere, (b,)."""
    mean, square = part * image.mean((1, 2, 3)), part * image.square().mean((1, 2, 3))
    return (functional.relu(square - mean**2) + TINY).sqrt()


def _entropy(image: Tensor) -> Tensor:
    """Bits, (b,)."""
    place = image.flatten(1).clamp(0, 1) * (BINS - 1)
    low = place.detach().long().clamp(max=BINS - 2)
    share = place - low
    counts = torch.zeros(len(image), BINS, dtype=image.dtype, device=image.device)
    shares = counts.scatter_add(1, low, 1 - share).scatter_add(1, low + 1, share) / place.shape[1]
    return -(shares * (shares + TINY).log2()).sum(1)


def _smooth(image: Tensor, side: int, sigma: float, step: int = 1) -> Tensor:
    """Gaussian weighted means over whole windows alone, at each `step`th place.

    By products with banded matrices: patches are small, and convolutions of a single channel slow.
    """
    across, along = (_windows(n, side, sigma, step).to(image) for n in image.shape[2:])
    return across @ image @ along.T


@lru_cache(maxsize=64)
def _windows(size: int, side: int, sigma: float, step: int) -> Tensor:
    """A matrix with a window's weights in each row."""
    place = torch.arange(size) - torch.arange(0, size - side + 1, step)[:, None] - side // 2
    weights = torch.exp(-place.square() / (2 * sigma**2)) * (place.abs() <= side // 2)
    return weights / weights.sum(1, keepdim=True)


def _moments(fused: Tensor, one: Tensor, two: Tensor, side: int, sigma: float) -> tuple[Moments, Moments]:
    """Of the fused image with each source."""
    f, ff, fa, fb = _smooth(torch.cat([fused, fused**2, fused * one, fused * two]), side, sigma).chunk(4)
    a, b, aa, bb = _smooth(torch.cat([one, two, one**2, two**2]), side, sigma).chunk(4)  # needs no gradient
    return (
        Moments(f, a, functional.relu(ff - f**2), functional.relu(aa - a**2), fa - f * a),
        Moments(f, b, functional.relu(ff - f**2), functional.relu(bb - b**2), fb - f * b),
    )


def _similarity(m: Moments) -> Tensor:
    light = (2 * m.fused * m.source + STABLE[0]) / (m.fused**2 + m.source**2 + STABLE[0])
    return light * (2 * m.both + STABLE[1]) / (m.fused_variance + m.source_variance + STABLE[1])


def _information(m: Moments) -> tuple[Tensor, Tensor]:
    """What is told of a source, and what there is to tell, (b,) each."""
    gain = functional.relu(m.both) / (m.source_variance + TINY)
    noise = functional.relu(m.fused_variance - gain * m.both)
    told = torch.log1p(gain**2 * m.source_variance / (noise + NOISE))
    whole = torch.log1p(m.source_variance / NOISE)
    return told.sum((1, 2, 3)), whole.sum((1, 2, 3))


def _gradient(image: Tensor) -> Tensor:
    """Sobel's differences along both axes, (b, 2, x, y), edges of the image repeated."""
    x, y = image.shape[2:]
    wide = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    low, middle, high = (wide[:, :, i : i + x] for i in range(3))
    along = high - low
    across = low + 2 * middle + high
    along = along[..., :y] + 2 * along[..., 1 : y + 1] + along[..., 2:]
    return torch.cat([along, across[..., 2:] - across[..., :y]], 1) / 8


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and orientation of the edges, the latter within a quarter turn of 0 on both sides."""
    along, across = _gradient(image).chunk(2, 1)
    strength = (along.square() + across.square() + TINY).sqrt()
    sign = torch.where(along < 0, -1.0, 1.0)
    return strength, torch.atan2(sign * across, sign * along + TINY**0.5)


def _preserved(source: tuple[Tensor, Tensor], fused: tuple[Tensor, Tensor]) -> Tensor:
    strength = torch.minimum(source[0], fused[0]) / torch.maximum(source[0], fused[0])
    orientation = ((source[1] - fused[1]).abs() - math.pi / 2).abs() / (math.pi / 2)
    values = ((strength, metrics.STRENGTH), (orientation, metrics.ORIENTATION))
    kept = [gamma * torch.sigmoid(-kappa * (value - sigma)) for value, (gamma, kappa, sigma) in values]
    return kept[0] * kept[1]

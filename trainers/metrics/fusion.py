"""How much of two images a fused one keeps: EN, SD, MI, VIF, Qabf and SSIM, by their standard definitions.

All take grey images of 0 to 255 of any dimension but Qabf and VIF, which look at slices (x, y). Where a figure compares
the fused image with a source, it is the sum over both sources, as in published tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.metrics import structural_similarity

Array = npt.NDArray[Any]
LEVELS = 256
VISUAL_NOISE = 2.0
"""Variance of the noise of the visual system in VIF: Sheikh and Bovik 2006, section IV."""
STRENGTH = (0.9994, -15.0, 0.5)
ORIENTATION = (0.9879, -22.0, 0.8)
"""Constants of Qabf's sigmoids, Γ, κ and σ: Xydeas and Petrovic 2000."""


def entropy(fused: Array) -> float:
    """EN: Shannon entropy of the grey values, bits."""
    shares = np.bincount(_grey(fused).ravel(), minlength=LEVELS) / fused.size
    return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def deviation(fused: Array) -> float:
    """SD: standard deviation of the grey values."""
    return float(np.asarray(fused, np.float64).std())


def mutual_information(fused: Array, one: Array, two: Array) -> float:
    """MI: what the grey values of the fused image tell of those of each source, bits, summed.

    Tables made with scikit-learn's `mutual_info_score` are in nats: multiply those by 1.44 to compare.

    Qu et al., "Information measure for performance of image fusion", Electronics Letters 2002, equations 1 and 2.
    """
    return sum(_information(fused, source) for source in (one, two))


def fidelity(fused: Array, one: Array, two: Array) -> float:
    """VIF: visual information fidelity of each source in the fused image, summed."""
    return sum(visual_information(source, fused) for source in (one, two))


def structure(fused: Array, one: Array, two: Array) -> float:
    """SSIM of the fused image with each source, summed; Gaussian windows of 1.5 pixels, Wang et al. 2004."""
    settings: dict[str, Any] = {
        "data_range": 255.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False,
    }  # fmt: skip
    values = [np.asarray(x, np.float64) for x in (fused, one, two)]
    return float(sum(structural_similarity(values[0], source, **settings) for source in values[1:]))


def visual_information(reference: Array, distorted: Array) -> float:
    """VIF in the pixel domain: Sheikh and Bovik, "Image information and visual quality", TIP 2006, equation 8.

    Gaussian windows of 17, 9, 5 and 3 pixels on four scales stand for the wavelets, as in the authors' own `vifp`.
    """
    told = whole = 0.0
    first, second = (np.asarray(x, np.float64) for x in (reference, distorted))
    for scale in range(4):
        side = 2 ** (4 - scale) + 1
        if scale:
            first, second = (_window(x, side)[::2, ::2] for x in (first, second))
        if min(first.shape) < side:
            break
        gain, variance, noise = _channel(first, second, side)
        told += float(np.log10(1 + gain**2 * variance / (noise + VISUAL_NOISE)).sum())
        whole += float(np.log10(1 + variance / VISUAL_NOISE).sum())
    return told / whole if whole else 1.0


def edges_kept(fused: Array, one: Array, two: Array) -> float:
    """Qabf: how much of the sources' edges the fused image has, weighted by their strength; 0 to 1.

    Xydeas and Petrovic, "Objective image fusion performance measure", Electronics Letters 2000, equations 1 to 7.
    """
    edges = [_edges(np.asarray(x, np.float64)) for x in (fused, one, two)]
    kept = total = 0.0
    for source in edges[1:]:
        kept += float((_preserved(source, edges[0]) * source[0]).sum())
        total += float(source[0].sum())
    return kept / total if total else 1.0


def all_figures(fused: Array, one: Array, two: Array) -> dict[str, float]:
    """All six, of slices (x, y) of 0 to 255; of each, more is better."""
    return {
        "EN": entropy(fused),
        "SD": deviation(fused),
        "MI": mutual_information(fused, one, two),
        "VIF": fidelity(fused, one, two),
        "Qabf": edges_kept(fused, one, two),
        "SSIM": structure(fused, one, two),
    }


def _grey(image: Array) -> npt.NDArray[np.int64]:
    return np.clip(np.round(np.asarray(image, np.float64)), 0, LEVELS - 1).astype(np.int64)


def _information(fused: Array, source: Array) -> float:
    joint = np.bincount((_grey(fused) * LEVELS + _grey(source)).ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS)
    shares = joint / joint.sum()
    apart = shares.sum(1, keepdims=True) * shares.sum(0, keepdims=True)
    seen = shares > 0
    return float((shares[seen] * np.log2(shares[seen] / apart[seen])).sum())


def _window(image: Array, side: int) -> Array:
    """Gaussian weighted means over whole windows alone."""
    reach = side // 2
    weights = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * (side / 5) ** 2))
    weights /= weights.sum()
    smooth = image
    for axis in (0, 1):
        smooth = ndimage.correlate1d(smooth, weights, axis)
    return smooth[reach:-reach, reach:-reach]


def _channel(reference: Array, distorted: Array, side: int) -> tuple[Array, Array, Array]:
    """Gain, the reference's variance and the noise of the channel between two images, for each window."""
    means = [_window(x, side) for x in (reference, distorted)]
    squares: list[Array] = [
        _window(a * b, side) - m * n
        for a, b, m, n in (
            (reference, reference, means[0], means[0]),
            (distorted, distorted, means[1], means[1]),
            (reference, distorted, means[0], means[1]),
        )
    ]
    variance, other, both = squares
    variance, other = np.maximum(variance, 0), np.maximum(other, 0)
    tiny = 1e-10
    gain = np.where(variance > tiny, both / (variance + tiny), 0.0)
    noise = np.where(variance > tiny, other - gain * both, other)
    noise = np.where(gain < 0, other, noise)
    return np.maximum(gain, 0), np.where(variance > tiny, variance, 0.0), np.maximum(noise, tiny)


def _edges(image: Array) -> tuple[Array, Array]:
    """Strength and orientation of the edges, by Sobel."""
    along, across = ndimage.sobel(image, 1), ndimage.sobel(image, 0)
    angle = np.where(along == 0, np.pi / 2, np.arctan(across / np.where(along == 0, 1, along)))
    return np.hypot(along, across), angle


def _preserved(source: tuple[Array, Array], fused: tuple[Array, Array]) -> Array:
    """How well each edge of a source is kept in strength and orientation: +89 and -89 degrees are nearly the same."""
    small, large = np.minimum(source[0], fused[0]), np.maximum(source[0], fused[0])
    strength = np.where(large > 0, small / np.where(large > 0, large, 1), 0)
    orientation = np.abs(np.abs(source[1] - fused[1]) - np.pi / 2) / (np.pi / 2)
    values = ((strength, STRENGTH), (orientation, ORIENTATION))
    kept = [gamma / (1 + np.exp(kappa * (value - sigma))) for value, (gamma, kappa, sigma) in values]
    return np.asarray(kept[0] * kept[1])

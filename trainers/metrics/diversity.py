"""How unlike each other generated images are: a generator that repeats itself has alike pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics.regression import compute_ms_ssim

from trainers.metrics.encoder import check_images
from trainers.metrics.intervals import Estimate, bootstrap_mean

Array = npt.NDArray[Any]
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, finest first: Wang et al. 2003, section 3.2."""


def ms_ssim_diversity(images: Array, pairs: int = 200, seed: int = 0, batch: int = 16) -> Estimate:
    """Mean multi-scale structural similarity between random pairs of images of a set; lower is more diverse.

    Wang et al., "Multiscale structural similarity for image quality assessment", Asilomar 2003, equation 7, by MONAI;
    as a measure of diversity Odena et al., "Conditional image synthesis with auxiliary classifier GANs", ICML 2017,
    section 4.2. Read it beside the figure of real images. Small images have fewer scales (see `scales`), so figures of
    images of unlike size cannot be compared.

    Args:
        images: (n, channel, *spatial) in [-1, 1], n at least 3, at least 7 voxels a side.
        pairs: number of pairs of two different images, drawn at random.
        seed: of the pairs.
        batch: pairs at a time.

    Returns:
        The mean over pairs with its bootstrap interval.

    Raises:
        ValueError: images of the wrong shape or range.
    """
    images = (check_images(images, least=3) + 1) / 2
    random = np.random.default_rng(seed)
    first = random.integers(len(images), size=pairs)
    second = (first + random.integers(1, len(images), size=pairs)) % len(images)
    scores = [_ms_ssim(images[first[i : i + batch]], images[second[i : i + batch]]) for i in range(0, pairs, batch)]
    return bootstrap_mean(np.concatenate(scores), seed=seed)


def scales(smallest_side: int) -> tuple[int, tuple[float, ...]]:
    """The window's side and the weights of the scales that fit an image, and that MONAI takes.

    From 176 voxels it is the paper's: 11 and five scales; below, a window of 7 and as many of the finest scales as fit,
    their weights made to add up to 1.

    Raises:
        ValueError: less than 7 voxels.
    """
    if smallest_side < 7:
        raise ValueError(f"The images have {smallest_side} voxels on their smallest side; MS-SSIM needs at least 7.")
    window = 11 if smallest_side >= 176 else 7
    fitting = max(s for s in range(1, 6) if smallest_side >= window * max(2 ** (s - 1), (s - 1) ** 2))
    total = sum(WEIGHTS[:fitting])
    return window, tuple(w / total for w in WEIGHTS[:fitting])


def _ms_ssim(one: Array, two: Array) -> Array:
    """MS-SSIM of each pair of images in [0, 1]."""
    window, weights = scales(min(one.shape[2:]))
    with torch.inference_mode():
        score = compute_ms_ssim(
            torch.from_numpy(one), torch.from_numpy(two), one.ndim - 2, kernel_size=window, weights=weights
        )
    return score.reshape(len(one), -1).mean(1).numpy()

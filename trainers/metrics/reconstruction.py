"""How near a reconstruction is to the truth: PSNR, SSIM, and whether it has the truth's texture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.metrics import structural_similarity

Array = npt.NDArray[Any]
SSIM_WINDOW = 7


def psnr(image: Array, truth: Array) -> float:
    """Peak signal-to-noise ratio, dB; the peak is the truth's range, largest minus smallest value.

    Raises:
        ValueError: a truth without contrast, which has no range.
    """
    error = float(np.mean((np.asarray(image, np.float64) - truth) ** 2))
    return float("inf") if error == 0 else float(20 * np.log10(value_range(truth)) - 10 * np.log10(error))


def ssim(image: Array, truth: Array) -> float:
    """Structural similarity over cubes (squares in 2D) of 7 voxels, with the truth's range as dynamic range.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", TIP 2004, equations
    13 and 17, as scikit-image has it; a volume thinner than 7 voxels is looked at through a smaller window.
    """
    side = min(SSIM_WINDOW, (min(truth.shape) - 1) // 2 * 2 + 1)
    if side < 3:
        raise ValueError(f"An image of {truth.shape} voxels is too thin for SSIM; give at least 3 along each axis.")
    return float(structural_similarity(truth, image, win_size=side, data_range=value_range(truth)))


def texture(image: Array, truth: Array) -> float:
    """Energy of an image's fine detail over that of the truth: 1 is right, below is smoothed, above is invented.

    Fine detail is what a Gaussian of one voxel takes away. L1 and L2 networks are known to lose it (Blau and Michaeli,
    "The perception-distortion tradeoff", CVPR 2018), which is what an adversarial loss gives back.
    """
    detail = [x - ndimage.gaussian_filter(x, 1.0) for x in (np.asarray(image, np.float32), truth.astype(np.float32))]
    return float(np.square(detail[0]).mean() / max(np.square(detail[1]).mean(), 1e-12))


def value_range(truth: Array) -> float:
    """Largest minus smallest value. Raises ValueError if it is 0."""
    found = float(truth.max()) - float(truth.min())
    if found <= 0:
        raise ValueError("The image has no contrast; nothing can be measured on it.")
    return found

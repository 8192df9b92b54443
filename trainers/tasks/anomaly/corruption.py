"""Healthy images, spoiled in places that are known: what a network learns from that never sees an abnormal one.

A spoiled place has an irregular outline and one of several kinds of content. None of them copies a disease: together
they are many ways of not looking healthy. They are not the lesions of `trainers.physics.lesions`, which measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
MOST = {2: 2, 3: 5}  # places in an image, by its dimensions
RADIUS = (0.05, 0.25)  # of a place, share of the image's shortest side
SEEN = 0.1  # of the image's deviation: a place that differs by less on the average cannot be seen, and is not asked for


def spoil(image: Floats, other: Floats, random: np.random.Generator) -> tuple[Floats, Bools]:
    """Spoils one or several places of an image.

    Args:
        image: (channel, *size), two or three axes, in [-1, 1].
        other: another patient's, of the same shape; parts of it are put in.
        random: of places and contents.

    Returns:
        The spoiled image, and where it can be seen that it is: (*size).
    """
    spoilt = image
    for _ in range(int(random.integers(1, MOST[image.ndim - 1] + 1))):
        share = _place(image.shape[1:], random)
        kind = list(KINDS)[int(random.integers(len(KINDS)))]
        content = np.clip(KINDS[kind](spoilt, other, random), -1, 1)
        spoilt = spoilt + share * (content - spoilt)
    change = np.abs(spoilt - image).max(0)
    seen = ndimage.uniform_filter(change, 3) > SEEN * max(float(image.std()), 1e-6)
    return spoilt.astype(np.float32), seen


def _place(size: tuple[int, ...], random: np.random.Generator) -> Floats:
    """How much of each voxel is spoiled, 0 to 1: an ellipsoid with a wavy, more or less soft edge."""
    radius = random.uniform(*RADIUS) * min(size)
    middle, stretch = [random.uniform(0, n) for n in size], random.uniform(0.6, 1.6, len(size))
    axes = np.ogrid[tuple(slice(n) for n in size)]
    distance = np.sqrt(sum(((a - m) / s) ** 2 for a, m, s in zip(axes, middle, stretch, strict=True)))
    edge = radius - distance + 0.4 * radius * waves(size, max(1.0, 0.6 * radius), random)
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * edge / random.uniform(0.3, 2.0), -30, 30))), np.float32)


def waves(size: tuple[int, ...], length: float, random: np.random.Generator) -> Floats:
    """A smooth random field with bumps of about `length` voxels, of zero mean and unit deviation."""
    step = max(1, int(length))
    coarse = ndimage.gaussian_filter(random.normal(size=[int(np.ceil(n / step)) + 2 for n in size]), length / step)
    fine = ndimage.zoom(coarse, [(n + 2 * step) / m for n, m in zip(size, coarse.shape, strict=True)], order=1)
    cut = fine[tuple(slice(n) for n in size)]
    return np.asarray((cut - cut.mean()) / max(float(cut.std()), 1e-6), np.float32)


def _shade(image: Floats, other: Floats, random: np.random.Generator) -> Floats:
    """Brighter or darker, with its texture."""
    return image + np.float32(random.choice([-1, 1]) * random.uniform(0.3, 2.0) * image.std())


def _noise(image: Floats, other: Floats, random: np.random.Generator) -> Floats:
    """Coarse noise added: Kascenas et al., "Denoising autoencoders for unsupervised anomaly detection in brain MRI",
    MIDL 2022, section 3.
    """
    return image + np.float32(random.uniform(0.3, 1.5) * image.std()) * waves(
        image.shape[1:], random.uniform(1, 4), random
    )


def _foreign(image: Floats, other: Floats, random: np.random.Generator) -> Floats:
    """A part of another patient, from anywhere: Tan et al., "Detecting outliers with foreign patch interpolation",
    MELBA 2022, equation 1.
    """
    share = random.uniform(0.4, 1.0)
    shift = tuple(int(random.integers(n)) for n in image.shape[1:])
    return (1 - share) * image + share * np.roll(other, shift, tuple(range(1, image.ndim)))


def _sharpness(image: Floats, other: Floats, random: np.random.Generator) -> Floats:
    """Blurred, or sharper than it was."""
    sigma = random.uniform(0.7, 2.0)
    blurred = ndimage.gaussian_filter(image, [0, *[sigma] * (image.ndim - 1)])
    return blurred if random.random() < 0.5 else 2 * image - blurred


def _erase(image: Floats, other: Floats, random: np.random.Generator) -> Floats:
    """Nothing but a grey with noise: what was there has to be guessed."""
    noise = random.random() * 0.5 * image.std() * random.normal(size=image.shape)
    return np.asarray(random.uniform(-1, 1) + noise, np.float32)


KINDS: Mapping[str, Callable[[Floats, Floats, np.random.Generator], Floats]] = {
    "shade": _shade, "noise": _noise, "foreign": _foreign, "sharpness": _sharpness, "erase": _erase,
}  # fmt: skip

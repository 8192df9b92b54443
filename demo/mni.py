"""Real anatomy that is always at hand: the MNI152 T1 template that ships inside nilearn.

MNI ICBM 152 2009, copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University; its licence permits use, change and redistribution for any purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.volumes import Volume

HIPPOCAMPUS = {"left": (-26.0, -22.0, -14.0), "right": (26.0, -22.0, -14.0)}  # MNI mm
CROP = (36, 52, 36)  # voxels of 1 mm, as the crops that the model was trained on


@cache
def head() -> Volume:
    """The template: (197, 233, 189) float32 at 1 mm, RAS."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float))


def crop(volume: Volume, center: tuple[float, float, float], shape: tuple[int, int, int] = CROP) -> Volume:
    """The box of `shape` voxels around a point in RAS mm, with its own affine."""
    index = np.linalg.inv(volume.affine) @ [*center, 1.0]
    start = np.round(index[:3] - np.array(shape) / 2).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*start, 1.0])[:3]
    return Volume(np.ascontiguousarray(volume.array[box]), affine)


@dataclass(frozen=True)
class Variation:
    """How one demo patient differs from the template.

    Attributes:
        matrix: 3 x 3, turns and stretches about the middle. warp: (3, x, y, z) displacement, voxels.
        gamma: bends the grey values. bias: multiplies them, (x, y, z). noise: deviation, share of the range.
    """

    matrix: npt.NDArray[np.float64]
    warp: npt.NDArray[np.float32]
    gamma: float
    bias: npt.NDArray[np.float32]
    noise: float


def draw_variation(random: np.random.Generator, shape: tuple[int, ...]) -> Variation:
    """A plausible other head: up to 6 degrees and 8 % of size, smooth 1.5 mm warps, a receive field, scanner noise."""
    angles = random.uniform(-0.1, 0.1, 3)
    skew = np.array([[0, -angles[2], angles[1]], [angles[2], 0, -angles[0]], [-angles[1], angles[0], 0]])
    matrix = np.eye(3) + skew + np.diag(random.uniform(-0.08, 0.08, 3))
    warp = np.stack([_smooth_field(random, shape, 7.0) * 1.5 for _ in range(3)])
    bias = 1 + 0.15 * _smooth_field(random, shape, 20.0)
    return Variation(matrix, warp, float(random.uniform(0.8, 1.25)), bias, float(random.uniform(0.01, 0.03)))


def vary_image(volume: Volume, change: Variation, random: np.random.Generator) -> Volume:
    """The template as it would look in that head and scanner; float32 in scanner units of 0 to about 1000."""
    moved = _move(volume.array, change, order=1)
    low, high = float(moved.min()), float(moved.max())
    grey = ((moved - low) / max(high - low, 1e-6)) ** change.gamma * change.bias
    noisy = np.hypot(grey + random.normal(0, change.noise, grey.shape), random.normal(0, change.noise, grey.shape))
    return volume.like((1000 * noisy).astype(np.float32))


def vary_label(label: Volume, change: Variation) -> Volume:
    """A label map moved with its image."""
    values = np.unique(label.array)
    share = np.stack([_move((label.array == v).astype(np.float32), change, order=1) for v in values])
    return label.like(values[share.argmax(0)].astype(np.uint8))


def _move(array: npt.NDArray[np.float32], change: Variation, order: int) -> npt.NDArray[np.float32]:
    middle = (np.array(array.shape) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij")).astype(np.float32)
    offset = grid - middle[:, None, None, None]
    source = np.tensordot(change.matrix, offset, 1) + middle[:, None, None, None] + change.warp
    return ndimage.map_coordinates(array, source, order=order, mode="nearest")


def _smooth_field(random: np.random.Generator, shape: tuple[int, ...], sigma: float) -> npt.NDArray[np.float32]:
    """Smooth noise of zero mean and unit deviation, from a coarse field."""
    step = max(1, int(sigma / 2))
    coarse = random.normal(size=[n // step + 3 for n in shape])
    field = ndimage.zoom(ndimage.gaussian_filter(coarse, sigma / step), step, order=1)
    field = field[tuple(slice(0, n) for n in shape)]
    return ((field - field.mean()) / field.std()).astype(np.float32)

"""Plausible label maps: a GAN of their own on distances to each label's outline, at half the resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import RandAffine
from scipy import ndimage
from torch import nn

from trainers.augment import ROTATE, SCALE
from trainers.networks.blocks import resize
from trainers.networks.generator import Generator
from trainers.tasks.synthesis.images import Images, Labels

VARIATIONS = 8  # of each real map, turned, scaled and bent a little
TRIES = 20
REACH = 4.0  # voxels from the outline beyond which a distance is not told
EXTREMES = (1.0, 99.0)  # percentiles of the real volumes that bound those of made maps


def distance_maps(labels: Labels, classes: int, seed: int = 0) -> Images:
    """Varied label maps as signed distances to each label's outline at half the resolution.

    A distance changes everywhere when a shape does, and does not saturate as a mask of zeros and ones would.

    Args:
        labels: (n, *window) class indices.
        classes: background included.
        seed: of the variations.

    Returns:
        Images of `map_channels` channels in [-1, 1], positive inside, `VARIATIONS` of each map; 1 is `REACH` voxels.
    """
    move = RandAffine(
        prob=1.0, rotate_range=(ROTATE,) * (labels.ndim - 1), scale_range=(SCALE,) * (labels.ndim - 1),
        mode="bilinear", padding_mode="border",
    )  # fmt: skip
    move.set_random_state(seed)
    maps = []
    for label in labels:
        distances = torch.from_numpy(np.stack([_distance(mask) for mask in _masks(label, classes)]))
        varied = [distances, *(cast(Any, move(distances)).as_tensor() for _ in range(VARIATIONS - 1))]
        maps.append(resize(torch.stack(varied), half(labels.shape[1:])))
    array = torch.cat(maps).numpy()
    return Images([str(i) for i in range(len(array))], array)


def map_channels(classes: int) -> int:
    """Channels of a distance map: one a label, and one before them for all together if there are several."""
    return classes if classes > 2 else 1


def _masks(label: Labels, classes: int) -> list[npt.NDArray[np.bool_]]:
    """All labels together first, so that neighbours leave no gap between them; then each."""
    each = [label == value for value in range(1, classes)]
    return each if classes == 2 else [label > 0, *each]


def _distance(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Signed distance to a mask's outline, voxels over `REACH`, cut off at 1; -1 everywhere if it is empty."""
    if not mask.any():
        return np.full(mask.shape, -1, np.float32)
    inside, outside = (cast(Any, ndimage.distance_transform_edt(m)) for m in (mask, ~mask))
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    return np.clip(signed / REACH, -1, 1).astype(np.float32)


def half(size: Sequence[int]) -> tuple[int, ...]:
    """Half of a size, rounded up."""
    return tuple((n + 1) // 2 for n in size)


def label_sizes(labels: Labels, classes: int) -> list[tuple[int, int]]:
    """For each class but the background, the range of its size over real maps, voxels."""
    counts = [(labels == value).reshape(len(labels), -1).sum(1) for value in range(1, classes)]
    return [(int(np.percentile(c, EXTREMES[0])), int(np.percentile(c, EXTREMES[1]))) for c in counts]


@torch.inference_mode()
def draw_label(
    generator: nn.Module, window: Sequence[int], sizes: Sequence[Sequence[int]], rng: torch.Generator
) -> Labels:
    """Draws a label map whose classes are each as large as real ones.

    Args:
        generator: of distance maps.
        window: size of the map.
        sizes: as `label_sizes` gives them.
        rng: source of chance.

    Returns:
        (*window) class indices; the most fitting of `TRIES` if none fits.
    """
    device = next(generator.parameters()).device
    best, least = np.zeros(tuple(window), np.uint8), np.inf
    for _ in range(TRIES):
        latents = [x.to(device) for x in cast(Generator, generator).latents(1, rng)]
        label = _largest(to_label(resize(generator(latents), window)[0].cpu().numpy()))
        misfit = _misfit(label, sizes)
        if misfit < least:
            best, least = label, misfit
        if misfit == 0:
            break
    return best


def to_label(distances: npt.NDArray[np.float32]) -> Labels:
    """Class indices (*window) of distance maps (`map_channels`, *window): inside, the label that lies deepest there."""
    each = distances[1:] if len(distances) > 1 else distances
    return np.where(distances[0] > 0, each.argmax(0) + 1, 0).astype(np.uint8)


def _misfit(label: Labels, sizes: Sequence[Sequence[int]]) -> float:
    """How far the classes' sizes are outside their ranges, relative; 0 if none is."""
    counts = np.bincount(label.ravel(), minlength=len(sizes) + 1)[1:]
    return float(sum(max(low - n, n - high, 0) / max(low, 1) for n, (low, high) in zip(counts, sizes, strict=True)))


def _largest(label: Labels) -> Labels:
    """The largest connected piece of foreground."""
    pieces, count = ndimage.label(label > 0)
    if count < 2:
        return label
    kept = np.bincount(pieces.ravel())[1:].argmax() + 1
    return cast(Labels, np.where(pieces == kept, label, 0).astype(np.uint8))


def map_statistics(labels: Mapping[str, int], sizes: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    """Sizes by label name, for the spec."""
    return {name: list(size) for name, size in zip(labels, sizes, strict=True)}

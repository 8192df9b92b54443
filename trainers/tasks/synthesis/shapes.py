"""Plausible label maps: a GAN of their own on shares of each class at half the resolution, where shapes are smooth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import RandAffine
from scipy import ndimage
from torch import nn
from torch.nn import functional

from trainers.networks.blocks import resize
from trainers.networks.generator import Generator
from trainers.tasks.synthesis.images import Images, Labels

VARIATIONS = 8  # of each real map, turned, scaled and bent a little
ROTATE, SCALE = 0.1, 0.05  # radians; share of the size
TRIES = 20
EXTREMES = (1.0, 99.0)  # percentiles of the real volumes that bound those of made maps


def soft_maps(labels: Labels, classes: int, seed: int = 0) -> Images:
    """Varied label maps as shares of each class at half the resolution.

    Args:
        labels: (n, *window) class indices.
        classes: background included.
        seed: of the variations.

    Returns:
        Images of `classes` channels in [0, 1], `VARIATIONS` of each map.
    """
    move = RandAffine(
        prob=1.0, rotate_range=(ROTATE,) * (labels.ndim - 1), scale_range=(SCALE,) * (labels.ndim - 1),
        mode="bilinear", padding_mode="border",
    )  # fmt: skip
    move.set_random_state(seed)
    soft = []
    for label in labels:
        shares = functional.one_hot(torch.from_numpy(label.astype(np.int64)), classes).movedim(-1, 0).float()
        soft += [shares if number == 0 else cast(Any, move(shares)).as_tensor() for number in range(VARIATIONS)]
    whole = torch.stack(soft)
    array = torch.cat([resize(part, half(labels.shape[1:])) for part in whole.split(64)]).numpy()
    return Images([str(i) for i in range(len(array))], array)


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
        generator: of soft maps.
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
        label = _largest(resize(generator(latents), window).argmax(1)[0].cpu().numpy().astype(np.uint8))
        misfit = _misfit(label, sizes)
        if misfit < least:
            best, least = label, misfit
        if misfit == 0:
            break
    return best


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


def volume_features(soft: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Soft maps (n, classes, *size) as vectors, for comparing sets of them."""
    return soft.reshape(len(soft), -1)

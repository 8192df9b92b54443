"""The plain baseline: how rare a grey value is in healthy images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.methods.reading import Reading, smooth

BINS = 64
SMOOTH = 1.0  # voxels


class GreyRarity(nn.Module):
    """Minus the logarithm of the share of healthy voxels with that value, smoothed; the score is its mean.

    In the spirit of Meissen, Kaissis, Rueckert, "Challenging current semi-supervised anomaly segmentation methods for
    brain MRI", BrainLes 2021: grey values alone, which beat networks where lesions are bright. Rare dark ones count as
    well.

    Args:
        channels: of the images.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.rarity: torch.Tensor
        self.register_buffer("rarity", torch.zeros(channels, BINS))

    @classmethod
    def learned(cls, images: Floats) -> GreyRarity:
        """Counts the values of healthy images, (n, channel, *size) in [-1, 1]."""
        made = cls(images.shape[1])
        for channel in range(images.shape[1]):
            counts, _ = np.histogram(images[:, channel], BINS, (-1, 1))
            made.rarity[channel] = torch.from_numpy(-np.log((counts + 1) / (counts.sum() + BINS)))
        return made

    def forward(self, image: torch.Tensor) -> Reading:
        """Looks at images (b, channel, *size) in [-1, 1]."""
        bins = ((image + 1) / 2 * BINS).long().clamp(0, BINS - 1)
        each = [self.rarity[channel][bins[:, channel]] for channel in range(image.shape[1])]
        rare = torch.stack(each, 1).mean(1, keepdim=True)
        return Reading(smooth(rare, SMOOTH), rare.flatten(1).mean(1))

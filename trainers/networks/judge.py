"""A discriminator of label maps: does this mask belong to this image, and how well does it fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool3d

from trainers.networks.blocks import SLOPE, ResidualBlock, channels_last, convolution, quiet

FLOOR = 1e-3  # weight of a place without any label, so that an empty mask has features too


class MaskJudge(nn.Module):
    """Judges an image with its class probabilities, place by place and as a whole.

    A patch discriminator (Isola et al. 2017, section 3.2.2) that takes image and label map together, with a second head
    that guesses the Dice of every label, as an auxiliary classifier does the class (Odena et al. 2017). Without
    normalisation across places, which would hide how good an image is.

    Args:
        classes: of the maps, with the background.
        channels: of the levels; each halves the image.
    """

    def __init__(self, classes: int, channels: Sequence[int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 1 + classes
        for width in channels:
            layers += [convolution(3, previous, width, 3, 2), ResidualBlock(3, width)]
            previous = width
        self.layers = nn.Sequential(*layers)
        self.patch = convolution(3, previous, 1, 1)
        self.dice = quiet(nn.Linear(2 * previous, classes - 1))
        channels_last(self, 3)

    def forward(self, image: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Judges.

        Args:
            image: (b, 1, x, y, z), normalised.
            maps: (b, class, x, y, z), the background first; they add up to 1.

        Returns:
            Scores (b, 1, *patches), above 0 for what looks like a clinician's label, and logits (b, labels) of the Dice
            that each label probably has.
        """
        features, weight = self.features(image, maps)
        mean = (features * weight).flatten(2).sum(2) / weight.flatten(2).sum(2)
        return self.patch(features), self.dice(torch.cat([mean, features.flatten(2).amax(2)], 1))

    def features(self, image: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The coarsest level (b, c, *patches), and how much label there is at each of its places (b, 1, *patches)."""
        x = nn.functional.leaky_relu(self.layers(torch.cat([image, maps], 1)), SLOPE)
        share = adaptive_avg_pool3d(1 - maps[:, :1], (x.shape[2], x.shape[3], x.shape[4]))
        return x, share + FLOOR

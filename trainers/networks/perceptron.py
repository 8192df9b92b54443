"""The first GAN's networks: fully connected layers (Goodfellow et al., "Generative adversarial nets", NeurIPS 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from trainers.networks.blocks import SLOPE
from trainers.networks.discriminator import Discriminator
from trainers.networks.generator import Generator, Latents

WIDEN = 4  # a fully connected layer is this many times as wide as the channels that a convolution would have


class PerceptronGenerator(Generator):
    """Fully connected layers from the latent to the pixels; arguments as of all generators."""

    def __init__(
        self,
        spatial_dims: int,
        size: Sequence[int],
        channels: Sequence[int],
        out_channels: int = 1,
        latent: int = 64,
        categories: Sequence[int] = (),
        output: str = "tanh",
    ) -> None:
        super().__init__(spatial_dims, size, channels, out_channels, latent, categories, output)
        widths = [self.width, *(WIDEN * c for c in reversed(channels))]
        hidden = [
            layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(SLOPE))
        ]
        self.layers = nn.Sequential(*hidden, nn.Linear(widths[-1], out_channels * math.prod(size)))

    def forward(
        self, latents: Latents, targets: torch.Tensor | None = None, maps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Makes images (b, out_channels, *size); takes no maps."""
        if maps is not None:
            raise ValueError("This generator takes no maps.")
        flat = self.layers(self._start(latents[0], targets))
        return self.output(flat.reshape(len(flat), -1, *self.sizes[-1]))


class PerceptronDiscriminator(Discriminator):
    """Fully connected layers from the pixels to a score, with dropout as in the paper."""

    def __init__(
        self,
        spatial_dims: int,
        size: Sequence[int],
        channels: Sequence[int],
        in_channels: int = 1,
        categories: Sequence[int] = (),
        condition: str = "concatenate",
        dropout: float = 0.3,
    ) -> None:
        widths = [WIDEN * c for c in reversed(channels)]
        super().__init__(widths[-1], size, categories, condition)
        first = (in_channels + (self.planes is not None)) * math.prod(size)
        hidden = [
            layer
            for a, b in pairwise([first, *widths])
            for layer in (nn.Linear(a, b), nn.LeakyReLU(SLOPE), nn.Dropout(dropout))
        ]
        self.layers = nn.Sequential(nn.Flatten(), *hidden)

    def forward(
        self, image: torch.Tensor, targets: torch.Tensor | None = None, maps: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores (b, 1), and logits of the first category or None."""
        return self._judge(self.layers(self._input(image, targets, maps)), targets)

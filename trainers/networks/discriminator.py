"""Discriminators and critics: images, with what they were made for, become scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers import Conv, Norm
from torch import nn

from trainers.losses.classes import projection_score
from trainers.networks.blocks import SLOPE, Embedding, ResidualBlock, channels_last, convolution, initialise, pyramid

CONDITIONS = ("concatenate", "projection", "auxiliary")


class Discriminator(nn.Module):
    """What all discriminators share: how a category is judged, and the scores.

    `condition` says how: `concatenate` adds the category as image channels (Mirza and Osindero 2014), `projection` adds
    the inner product of its embedding and the features (Miyato and Koyama 2018, eq. 3), `auxiliary` guesses it from
    the features (Odena et al. 2017). Condition maps are concatenated to the image (Isola et al. 2017).
    """

    def __init__(self, features: int, size: Sequence[int], categories: Sequence[int], condition: str) -> None:
        super().__init__()
        if condition not in CONDITIONS:
            raise ValueError(f"There is no condition {condition!r}. Known: {', '.join(CONDITIONS)}.")
        self.categories, self.size = tuple(categories), tuple(size)
        joined, projected = (bool(categories) and condition == c for c in CONDITIONS[:2])
        self.planes = Embedding(categories, math.prod(size)) if joined else None
        self.projection = Embedding(categories, features) if projected else None
        self.classifier = nn.Linear(features, categories[0]) if categories and condition == "auxiliary" else None
        self.score = nn.Linear(features, 1)

    def _input(self, image: torch.Tensor, targets: torch.Tensor | None, maps: torch.Tensor | None) -> torch.Tensor:
        parts = [image] if maps is None else [image, maps]
        if self.planes is not None:
            parts.append(self.planes(_given(targets)).reshape(-1, 1, *self.size))
        return torch.cat(parts, 1)

    def _judge(self, features: torch.Tensor, targets: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores (b, 1) of features (b, width), and logits of the first category if there is a classifier."""
        scores = self.score(features)
        if self.projection is not None:
            scores = projection_score(features, self.projection(_given(targets)) / math.sqrt(features.shape[1]), scores)
        return scores, None if self.classifier is None else self.classifier(features)


class ResidualDiscriminator(Discriminator):
    """The mirror of `ResidualGenerator`: residual blocks without normalisation, halved between levels.

    Args:
        spatial_dims: 2 or 3.
        size: of the images.
        channels: of the levels, from fine to coarse.
        in_channels: of the image,
            condition maps included.
        stem: stride of the first convolution; 2 saves most of the time in 3D.
        patches: also judges each place of the coarsest level; its score is added to that of the whole image, which is
            seen through a learned basis, so that both count alike.
    """

    def __init__(
        self,
        spatial_dims: int,
        size: Sequence[int],
        channels: Sequence[int],
        in_channels: int = 1,
        categories: Sequence[int] = (),
        condition: str = "projection",
        stem: int = 1,
        blocks: int = 1,
        patches: bool = False,
    ) -> None:
        super().__init__(channels[-1], size, categories, condition)
        joined = in_channels + (self.planes is not None)
        first = tuple(math.ceil(n / stem) for n in size)
        self.sizes = pyramid(first, len(channels))[::-1]
        layers: list[nn.Module] = [convolution(spatial_dims, joined, channels[0], 3, stem)]
        for index, width in enumerate(channels):
            if index:
                layers.append(convolution(spatial_dims, channels[index - 1], width, 3, 2))
            layers += [ResidualBlock(spatial_dims, width) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)
        self.basis = nn.Parameter(torch.randn(1, channels[-1], *self.sizes[-1]) / math.sqrt(math.prod(self.sizes[-1])))
        self.patch = convolution(spatial_dims, channels[-1], 1, 1) if patches else None
        channels_last(self, spatial_dims)

    def forward(
        self, image: torch.Tensor, targets: torch.Tensor | None = None, maps: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores.

        Args:
            image: (b, c, *size).
            targets: (b, categories) integers.
            maps: (b, m, *size), c + m = in_channels.

        Returns:
            Scores (b, k), higher for what looks real, and logits (b, values of the first category) or None.
        """
        x = nn.functional.leaky_relu(self.layers(self._input(image, targets, maps)), SLOPE)
        scores, logits = self._judge((x * self.basis).flatten(2).sum(2), targets)
        return (scores if self.patch is None else scores + self.patch(x).flatten(1)), logits


class DCGANDiscriminator(Discriminator):
    """Strided convolutions with leaky ReLU (Radford et al. 2016, section 3).

    Args:
        norm: `batch` as in DCGAN, `layer` or `none`; a critic with a gradient penalty must not mix images of a batch
            (Gulrajani et al. 2017, section 4).
    """

    def __init__(
        self,
        spatial_dims: int,
        size: Sequence[int],
        channels: Sequence[int],
        in_channels: int = 1,
        categories: Sequence[int] = (),
        condition: str = "concatenate",
        norm: str = "batch",
    ) -> None:
        last = pyramid(size, len(channels) + 1)[0]
        super().__init__(channels[-1] * math.prod(last), size, categories, condition)
        layers: list[nn.Module] = []
        previous = in_channels + (self.planes is not None)
        for index, width in enumerate(channels):
            layer = Conv[Conv.CONV, spatial_dims](previous, width, 3, 2, 1)
            layers += [layer, *(_norm(norm, spatial_dims, width) if index else []), nn.LeakyReLU(SLOPE)]
            previous = width
        self.layers = nn.Sequential(*layers, nn.Flatten())
        initialise(self)
        channels_last(self, spatial_dims)

    def forward(
        self, image: torch.Tensor, targets: torch.Tensor | None = None, maps: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `ResidualDiscriminator.forward`; scores are (b, 1)."""
        return self._judge(self.layers(self._input(image, targets, maps)), targets)


def _norm(kind: str, dimensions: int, channels: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [Norm[Norm.BATCH, dimensions](channels) if kind == "batch" else nn.GroupNorm(1, channels)]


def _given(targets: torch.Tensor | None) -> torch.Tensor:
    if targets is None:
        raise ValueError("This discriminator is told a category for each image; none was given.")
    return targets

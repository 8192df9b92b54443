"""A small convolutional network that turns an image into a short vector of features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import nn

from trainers.networks.discriminator import DCGANDiscriminator

BOUND = 4.0
"""Features lie within +- this, in standard deviations of the reference set, so that a few odd images do not outweigh
all others in a mean; within +- 2 they are hardly changed."""


class FeatureEncoder(nn.Module):
    """Features of 2D or 3D images, for distances between sets of images.

    The stem and each later stage halve the image, then each stage is averaged over space, so that fine texture and
    coarse shape both reach the features. There is no normalisation layer: brightness, contrast and noise stay visible,
    and an image's features do not depend on its batch.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64),
        features: int = 64,
    ) -> None:
        """Builds the network: 0.08 M parameters in 2D, 0.22 M in 3D.

        Args:
            spatial_dims: 2 or 3.
            in_channels: of the image.
            channels: of each stage; an image needs at least `2 ** len(channels)` voxels a side.
            features: length of the vector.

        Raises:
            ValueError: for other dimensions or no stage.
        """
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims is {spatial_dims}; the encoder takes 2 or 3.")
        if not channels:
            raise ValueError("channels is empty; give at least one stage, e.g. (16, 32, 64).")
        self.spatial_dims, self.in_channels, self.channels = spatial_dims, in_channels, tuple(channels)
        widths = (in_channels, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(spatial_dims, a, b, 2), _convolution(spatial_dims, b, b, 1) if i else nn.Identity()
            )
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.project = nn.Linear(sum(channels), features)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features (b, features) of images (b, channel, *spatial) in [-1, 1]."""
        raw = self.raw(image)
        return raw / torch.sqrt(1 + (raw / BOUND) ** 2)

    def raw(self, image: torch.Tensor) -> torch.Tensor:
        """The same before they are bounded."""
        pooled, x = [], image
        for stage in self.stages:
            x = stage(x)
            pooled.append(x.flatten(2).mean(2))
        return self.project(torch.cat(pooled, 1))

    @torch.no_grad()
    def standardise(self, images: torch.Tensor, batch: int = 128) -> None:
        """Rescales the features, within the last layer's weights, to mean 0 and deviation 1 before the bound.

        Args:
            images: the reference set, (n, channel, *spatial), n at least 2. Features that never vary are only shifted.
            batch: images at a time.
        """
        raw = torch.cat([self.raw(part) for part in images.split(batch)])
        mean, deviation = raw.mean(0), raw.std(0)
        scale = torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), torch.ones_like(deviation))
        self.project.weight.mul_(scale[:, None])
        self.project.bias.copy_((self.project.bias - mean) * scale)


def _convolution(spatial_dims: int, before: int, after: int, stride: int) -> nn.Module:
    """A 3-voxel convolution with a leaky rectifier, started after He et al. 2015, equation 15."""
    block = Convolution(
        spatial_dims,
        before,
        after,
        strides=stride,
        kernel_size=3,
        norm=None,
        act=("LEAKYRELU", {"negative_slope": 0.1}),
    )
    for name, parameter in block.named_parameters():
        if name == "conv.weight":
            nn.init.kaiming_normal_(parameter, a=0.1)
        elif name == "conv.bias":
            nn.init.zeros_(parameter)
    return block


class LatentEncoder(nn.Module):
    """Images to the latents of a generator: DCGAN's discriminator with a layer of `latent` numbers at its end.

    Args:
        spatial_dims: 2 or 3. size: of the images. channels: of the levels, from fine to coarse.
        in_channels: of the images. latent: numbers, within -4 and 4, where nearly all normal ones are.
    """

    def __init__(
        self, spatial_dims: int, size: Sequence[int], channels: Sequence[int], in_channels: int = 1, latent: int = 64
    ) -> None:
        super().__init__()
        body = DCGANDiscriminator(spatial_dims, size, channels, in_channels, norm="layer")
        self.layers = body.layers
        self.project = nn.Linear(body.score.in_features, latent)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(b, channel, *size) to (b, latent)."""
        return BOUND * torch.tanh(self.project(self.layers(image)) / BOUND)

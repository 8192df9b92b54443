"""Generators: random latents, classes and maps become images, in 2D and 3D of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from monai.networks.layers import Conv, Norm
from torch import nn

from trainers.networks.blocks import (
    SLOPE,
    Embedding,
    Noise,
    ResidualBlock,
    channels_last,
    convolution,
    initialise,
    pyramid,
    resize,
)

Latents = Sequence[torch.Tensor]
OUTPUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "linear": nn.Identity(),
    "softmax": lambda x: torch.softmax(x, 1),
}


class Generator(nn.Module):
    """What all generators share: the latents they take and the categories they are told.

    Args:
        spatial_dims: 2 or 3.
        size: of the images, any.
        channels: of the levels, from coarse to fine; each level is about
            twice as fine as the one before, so that `size` shrinks by 2 ** (levels - 1) at the coarsest.
        out_channels: of the image.
        latent: numbers that an image is made from.
        categories: how many values each category has, e.g. `[2]` for two classes, `[2, 4]` for classes and modalities.
        output: `tanh` for images in [-1, 1], `softmax` for label maps, `linear`.
    """

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
        super().__init__()
        self.sizes, self.latent, self.categories = pyramid(size, len(channels)), latent, tuple(categories)
        self.noisy_sizes: list[tuple[int, ...]] = []
        self.embedding = Embedding(categories, latent) if categories else None
        self.width = latent * (2 if categories else 1)
        self.output = OUTPUTS[output]

    def latents(self, number: int, rng: torch.Generator | None = None) -> list[torch.Tensor]:
        """Draws what `number` images are made from, on the CPU: z (n, latent), then noise (n, 1, *size) for each level.

        Args:
            number: of images.
            rng: where the random numbers come from; None is torch's own.
        """
        shapes = [(number, self.latent), *((number, 1, *size) for size in self.noisy_sizes)]
        return [torch.randn(shape, generator=rng) for shape in shapes]

    def _start(self, z: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        """The latent with the categories' embedding behind it (Mirza and Osindero 2014, section 3.2): (b, width)."""
        if self.embedding is None:
            return z
        if targets is None:
            raise ValueError("This generator is told a category for each image; none was given.")
        return torch.cat([z, self.embedding(targets)], 1)


class ResidualGenerator(Generator):
    """The modern default: a learned basis scaled by the latent, then residual blocks without normalisation.

    Huang et al., "The GAN is dead; long live the GAN!", NeurIPS 2024, section 3.2, with plain convolutions, which
    are faster on a CPU than grouped ones.

    Args:
        maps: channels of a condition map (label map as one channel a value, or another modality's image); 0 for
            none. They modulate every level but the finest, with the latent, and are added to the finest, which takes
            a third of the time in 3D.
        blocks: residual blocks a level.
        noise: adds noise at every level, for texture.
        style: the latent scales and shifts what the maps have modulated; without it, images of one map look alike.
    """

    def __init__(
        self,
        spatial_dims: int,
        size: Sequence[int],
        channels: Sequence[int],
        out_channels: int = 1,
        latent: int = 64,
        categories: Sequence[int] = (),
        output: str = "tanh",
        maps: int = 0,
        blocks: int = 1,
        noise: bool = False,
        style: bool = False,
    ) -> None:
        super().__init__(spatial_dims, size, channels, out_channels, latent, categories, output)
        self.maps = maps
        self.noisy_sizes = self.sizes if noise else []
        self.basis = nn.Parameter(torch.randn(1, channels[0], *self.sizes[0]))
        self.scale = nn.Linear(self.width, channels[0])
        finest, told = len(channels) - 1, self.width if style else 0
        self.levels = nn.ModuleList(
            nn.ModuleList(
                ResidualBlock(spatial_dims, width, maps if level < finest else 0, told) for _ in range(blocks)
            )
            for level, width in enumerate(channels)
        )
        self.add_maps = convolution(spatial_dims, maps, channels[-1], 1) if maps else None
        self.grow = nn.ModuleList(convolution(spatial_dims, a, b, 1) for a, b in pairwise(channels))
        self.noise = nn.ModuleList(Noise(spatial_dims, width) for width in channels if noise)
        self.to_image = convolution(spatial_dims, channels[-1], out_channels)
        channels_last(self, spatial_dims)

    def forward(
        self, latents: Latents, targets: torch.Tensor | None = None, maps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Makes images.

        Args:
            latents: as `latents` draws them.
            targets: (b, categories) integers.
            maps: (b, maps, *size).

        Returns:
            (b, out_channels, *size). Raises ValueError if a condition that the generator needs is missing, or a map is
            given that it does not take.
        """
        if self.maps and maps is None:
            raise ValueError("This generator fills a map; none was given.")
        if maps is not None and not self.maps:
            raise ValueError("This generator takes no maps.")
        style = self._start(latents[0], targets)
        scale = self.scale(style)
        x = self.basis * scale.reshape(*scale.shape, *[1] * len(self.sizes[0]))
        for index, blocks in enumerate(self.levels):
            if index:
                x = resize(self.grow[index - 1](x), self.sizes[index])
            if self.noise:
                x = self.noise[index](x, latents[1 + index])
            small = resize(maps, self.sizes[index]) if maps is not None else None
            if self.add_maps is not None and index == len(self.levels) - 1:
                x = x + self.add_maps(small)
            for block in cast(nn.ModuleList, blocks):
                x = block(x, small, style)
        return self.output(self.to_image(nn.functional.leaky_relu(x, SLOPE)))


class DCGANGenerator(Generator):
    """Transposed convolutions with batch normalisation and ReLU.

    Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
    networks", ICLR 2016, section 3 and figure 1. The first layer is as large as the coarsest level, so that any size
    can be made; what sticks out at the end is cut off.
    """

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
        up, norm = Conv[Conv.CONVTRANS, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        widths = [*channels[1:], out_channels]
        layers: list[nn.Module] = [up(self.width, channels[0], self.sizes[0], bias=False), norm(channels[0]), nn.ReLU()]
        for a, b in zip(channels[:-1], widths[:-1], strict=True):
            layers += [up(a, b, 4, 2, 1, bias=False), norm(b), nn.ReLU()]
        layers.append(convolution(spatial_dims, channels[-1], out_channels))
        self.layers = nn.Sequential(*layers)
        channels_last(self, spatial_dims)
        initialise(self)

    def forward(
        self, latents: Latents, targets: torch.Tensor | None = None, maps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `ResidualGenerator.forward`; takes no maps."""
        if maps is not None:
            raise ValueError("This generator takes no maps.")
        start = self._start(latents[0], targets)
        x = self.layers(start.reshape(*start.shape, *[1] * len(self.sizes[0])))
        return self.output(x[(..., *(slice(n) for n in self.sizes[-1]))])

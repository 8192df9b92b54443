"""What generators and discriminators are built of, in 2D and 3D from one definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from monai.networks.blocks import SPADE
from monai.networks.layers import Conv
from torch import nn
from torch.nn.functional import interpolate

SLOPE = 0.2
MODE = {1: "linear", 2: "bilinear", 3: "trilinear"}


def convolution(dimensions: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A convolution that keeps the size, or divides it by `stride`, initialised by He et al. 2015, equation 10."""
    layer = Conv[Conv.CONV, dimensions](inputs, outputs, kernel, stride, padding=(kernel - 1) // 2)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return cast(nn.Module, layer)


class ResidualBlock(nn.Module):
    """Two convolutions around an identity, without normalisation; the second one starts at zero.

    The start is that of Zhang, Dauphin, Ma, "Fixup initialization", ICLR 2019, as in Huang et al., "The GAN is dead;
    long live the GAN!", NeurIPS 2024, section 3.2. With `maps`, what goes into the convolutions is normalised and
    modulated by them (Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019,
    equation 1).
    """

    def __init__(self, dimensions: int, channels: int, maps: int = 0) -> None:
        super().__init__()
        self.first = convolution(dimensions, channels, channels)
        self.second = convolution(dimensions, channels, channels)
        nn.init.zeros_(cast(torch.Tensor, self.second.weight))
        self.modulate = _spade(dimensions, channels, maps) if maps else None

    def forward(self, x: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        """(b, channels, *size), and maps of any size, to the same shape."""
        y = x if self.modulate is None else self.modulate(x, maps)
        for layer in (self.first, self.second):
            y = layer(nn.functional.leaky_relu(y, SLOPE))
        return x + y


def _spade(dimensions: int, channels: int, maps: int) -> nn.Module:
    hidden = max(8, channels // 2)
    return SPADE(maps, channels, 3, dimensions, hidden, norm="INSTANCE", norm_params={"affine": False})


class Noise(nn.Module):
    """Adds noise with a learned strength for each channel: fine texture that no latent needs to describe.

    Karras et al., "A style-based generator architecture", CVPR 2019, section 2 ("B").
    """

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1, channels, *[1] * dimensions))

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """(b, channels, *size) and noise (b, 1, *size)."""
        return x + self.strength * noise


class Embedding(nn.Module):
    """Category numbers (b, k), one column a category, to one vector (b, width): the sum of each one's embedding."""

    def __init__(self, categories: Sequence[int], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count, width) for count in categories)

    def forward(self, targets: torch.Tensor) -> torch.Tensor:
        """(b, k) integers to (b, width)."""
        return torch.stack([table(targets[:, i]) for i, table in enumerate(self.tables)]).sum(0)


def channels_last(network: nn.Module, dimensions: int) -> None:
    """Lays a network's weights out so that convolutions on a CPU take half the time; values stay."""
    network.to(memory_format=torch.channels_last if dimensions == 2 else torch.channels_last_3d)


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Linear interpolation of (b, c, *any) to (b, c, *size)."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return interpolate(x, size=tuple(size), mode=MODE[len(size)], align_corners=False)


def pyramid(size: Sequence[int], levels: int) -> list[tuple[int, ...]]:
    """Image sizes from coarse to fine, each about twice the one before; the last is `size`."""
    return [tuple(math.ceil(n / 2**k) for n in size) for k in reversed(range(levels))]

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
    """A convolution that keeps the size, or divides it by `stride`, initialised by He et al. 2015, equation 15."""
    layer = Conv[Conv.CONV, dimensions](inputs, outputs, kernel, stride, padding=(kernel - 1) // 2)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return cast(nn.Module, layer)


def initialise(network: nn.Module) -> None:
    """Gives every convolution the initial spread of He et al. 2015, equation 15.

    DCGAN's 0.02 (Radford et al. 2016, section 4) is about that for its 128 to 1024 channels. At a tenth of them it is
    several times too small, and the two networks chase noise for a long time. Embeddings of classes begin small beside
    what they are joined to.
    """
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim > 2:
            nn.init.kaiming_normal_(weight, a=SLOPE)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, 0.1)


class ResidualBlock(nn.Module):
    """Two convolutions around an identity, without normalisation; the second one starts at zero.

    The start is that of Zhang, Dauphin, Ma, "Fixup initialization", ICLR 2019, as in Huang et al., "The GAN is dead;
    long live the GAN!", NeurIPS 2024, section 3.2. With `maps`, what goes into the convolutions is normalised and
    modulated by them, and by a style of `style` numbers. With `norm`, each channel of each image is normalised before
    each convolution: Ulyanov et al., "Instance normalization", 2016.
    """

    def __init__(self, dimensions: int, channels: int, maps: int = 0, style: int = 0, norm: bool = False) -> None:
        super().__init__()
        self.norm = norm
        self.first = convolution(dimensions, channels, channels)
        self.second = convolution(dimensions, channels, channels)
        nn.init.zeros_(cast(torch.Tensor, self.second.weight))
        self.modulate = Modulation(dimensions, channels, maps, style) if maps else None

    def forward(
        self, x: torch.Tensor, maps: torch.Tensor | None = None, style: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(b, channels, *size), maps of any size and style (b, style), to the same shape."""
        y = x if self.modulate is None else self.modulate(x, maps, style)
        for layer in (self.first, self.second):
            y = nn.functional.instance_norm(y) if self.norm else y
            y = layer(nn.functional.leaky_relu(y, SLOPE))
        return x + y


class Modulation(SPADE):
    """Normalises each channel of each image, then scales and shifts it by the maps, place by place, and by the style.

    Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019, equation 1, for the maps;
    Huang and Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization", ICCV 2017,
    equation 8, for the style. The normalisation removes what a latent did to a channel as a whole, so that without a
    style all images of one map would look alike.
    """

    def __init__(self, dimensions: int, channels: int, maps: int, style: int) -> None:
        hidden = max(8, channels // 2)
        super().__init__(maps, channels, 3, dimensions, hidden, norm="INSTANCE", norm_params={"affine": False})
        self.style = nn.Linear(style, 2 * channels) if style else None

    def forward(self, x: torch.Tensor, maps: torch.Tensor, style: torch.Tensor | None = None) -> torch.Tensor:
        """(b, channels, *size), maps (b, m, *any) and style (b, s), to the shape of x."""
        y = super().forward(x, maps)
        if self.style is None:
            return y
        scale, shift = self.style(style).reshape(len(x), 2, -1, *[1] * (x.ndim - 2)).unbind(1)
        return y * (1 + scale) + shift


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


def quiet(layer: nn.Module, bias: float = 0.0) -> nn.Module:
    """Lets a layer begin at almost nothing, so that a network begins at what it corrects, or at its bias alone."""
    with torch.no_grad():
        cast(torch.Tensor, layer.weight).mul_(0.01)
        cast(torch.Tensor, layer.bias).fill_(bias)
    return layer


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


def shuffle(x: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Channels to finer voxels: (b, c * n, *size) to (b, c, *size * factors), n the product of the factors.

    Shi et al. 2016, equation 4. In each group of n channels the last axis counts fastest.
    """
    size, n = x.shape[2:], len(factors)
    y = x.reshape(len(x), -1, *factors, *size)
    order = [0, 1] + [axis for i in range(n) for axis in (2 + n + i, 2 + i)]
    return y.permute(order).reshape(len(x), y.shape[1], *(s * f for s, f in zip(size, factors, strict=True)))


def gather(x: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Voxels to channels of a coarser grid, the inverse of `shuffle`."""
    n = len(factors)
    split = [part for s, f in zip(x.shape[2:], factors, strict=True) for part in (s // f, f)]
    y = x.reshape(len(x), x.shape[1], *split)
    order = [0, 1] + [3 + 2 * i for i in range(n)] + [2 + 2 * i for i in range(n)]
    return y.permute(order).reshape(len(x), -1, *split[::2])

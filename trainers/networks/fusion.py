"""A network that fuses two images of one place into one, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from trainers.networks.blocks import SLOPE, ResidualBlock, channels_last, convolution, gather, resize
from trainers.networks.reconstruction import Reconstruction
from trainers.networks.unet import ResidualUNet

STEP = 4
"""Pixels of the images to one of the fields."""
TOWARDS, CHANGE = 1.25, 0.5
"""Largest values of the fields a_s, and of g and o."""
BLACK = 0.05
"""What is darker than this in both sources is brightened less, and not at all where both are black."""


class SymmetricFusion(nn.Module):
    """Two slices to one: the brighter of both at each pixel, moved towards either source, brightened or darkened.

    With sources s and their maximum m it is (m + sum of a_s (s - m)) (1 + g) + o min(m / 0.05, 1). The fields a_s, g
    and o are made on a grid that is coarser by four (`gather`) and are interpolated: they choose and weigh what the
    sources show, and have no detail of their own. Where both are black, so is the result. Without training the fields
    are zero, and the result is the brighter of both.

    Both images go through the same layers, whose features are merged by their mean and their largest value, so that the
    order of the images cannot matter. What says how far a pixel may be from both sources reads the features of the
    image and does not change them.

    Args:
        channels: of the layers that see one image. wide: of those that see both, from fine to coarse.
    """

    def __init__(self, channels: int = 16, wide: Sequence[int] = (24, 32, 32)) -> None:
        super().__init__()
        self.first = convolution(2, STEP**2, channels)
        self.alone = ResidualBlock(2, channels)
        self.both = ResidualUNet(2, 2 * channels, wide[0], wide)
        self.both.last = convolution(2, wide[0], wide[0])  # features, which need not begin near zero
        self.choose = _head(channels + wide[0], 16, 1)
        self.adjust, self.doubt = _head(wide[0], 16, 2), _head(wide[0], 8, 1)
        channels_last(self, 2)

    def forward(self, image: torch.Tensor, second: torch.Tensor) -> Reconstruction:
        """Two images (b, 1, x, y) of 0 to 1, any size, to one; within 0 to 1 unless the network is being trained."""
        size = image.shape[2:]
        own = self._alone(torch.cat([image, second]))
        a, b = own.chunk(2)
        both = self.both(torch.cat([(a + b) / 2, torch.maximum(a, b)], 1))
        choice = self.choose(torch.cat([own, both.repeat(2, 1, 1, 1)], 1))
        one, two = (TOWARDS * _field(choice.tanh(), size)).chunk(2)
        gain, offset = (CHANGE * _field(self.adjust(both).tanh(), size)).chunk(2, 1)
        brighter = torch.maximum(image, second)
        moved = brighter + (one * (image - brighter) + two * (second - brighter))
        fused = moved * (1 + gain) + offset * (brighter / BLACK).clamp(max=1)
        log_error = _field(self.doubt(both.detach()), size)
        return Reconstruction(fused if self.training else fused.clamp(0, 1), log_error)

    def _alone(self, images: torch.Tensor) -> torch.Tensor:
        """Features of images, each by itself, (b, channels, x / 4, y / 4)."""
        x, y = images.shape[2:]
        whole = functional.pad(images, (0, -y % STEP, 0, -x % STEP), mode="replicate")
        features: torch.Tensor = self.alone(self.first(gather(whole, (STEP, STEP))))
        return features


def _field(coarse: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A field on the grid of the images, which are of any size."""
    x, y = size
    return resize(coarse.float(), [x + -x % STEP, y + -y % STEP])[..., :x, :y]


def _head(inputs: int, width: int, outputs: int) -> nn.Module:
    """Two convolutions, which begin at zero."""
    last = convolution(2, width, outputs)
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    return nn.Sequential(convolution(2, inputs, width), nn.LeakyReLU(SLOPE), last)

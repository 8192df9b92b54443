"""A network that fuses two images of one place into one, whatever their order."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from trainers.networks.blocks import SLOPE, ResidualBlock, channels_last, convolution
from trainers.networks.reconstruction import PlaneUNet, Reconstruction, gather, shuffle

FACTORS = (2, 2)


class SymmetricFusion(nn.Module):
    """Two slices to one: the brighter of both at each pixel, and what is added to it.

    Both images go through the same layers, whose features are merged by their mean and their largest value, so that the
    order of the images cannot matter; Liu et al., "Multi-focus image fusion with a deep convolutional neural network",
    Information Fusion 2017, section 3, share the layers for the same reason. Nearly all layers work on a grid that is
    coarser by two (`gather`, `shuffle`). Without training the result is the brighter of both.

    What says how far off a pixel may be reads the features of the image and does not change them.

    Args:
        channels: of the layers that see one image. wide: of those that see both, from fine to coarse.
        fine_channels: of the last ones, on the grid of the images.
    """

    def __init__(
        self, channels: int = 16, wide: tuple[int, ...] | list[int] = (24, 32), fine_channels: int = 8
    ) -> None:
        super().__init__()
        self.first = convolution(2, 4, channels)
        self.alone = ResidualBlock(2, channels)
        self.both = PlaneUNet(2 * channels, 4 * fine_channels, wide)
        self.last, self.doubt = (_head(fine_channels + 2, fine_channels) for _ in range(2))
        channels_last(self, 2)

    def forward(self, image: torch.Tensor, second: torch.Tensor) -> Reconstruction:
        """Two images (b, 1, x, y) of 0 to 1, any size, to one; within 0 to 1 unless the network is being trained."""
        x, y = image.shape[2:]
        pad = (0, y % 2, 0, x % 2)
        one, two = (functional.pad(part, pad, mode="replicate") for part in (image, second))
        brighter, darker = torch.maximum(one, two), torch.minimum(one, two)
        fine = shuffle(self.both(self._merged(one, two)), FACTORS)
        seen = torch.cat([fine, brighter, darker], 1)
        fused = brighter + self.last(seen).float()
        log_error = self.doubt(seen.detach()).float()
        if not self.training:
            fused = fused.clamp(0, 1)
        return Reconstruction(fused[..., :x, :y], log_error[..., :x, :y])

    def _merged(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        """Features of both images, (b, 2 * channels, x / 2, y / 2), which do not tell which one is the first."""
        features = self.alone(self.first(gather(torch.cat([one, two]), FACTORS)))
        a, b = features.chunk(2)
        return torch.cat([(a + b) / 2, torch.maximum(a, b)], 1)


def _head(inputs: int, width: int) -> nn.Module:
    """Two convolutions to one channel, which begins at zero."""
    last = convolution(2, width, 1)
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    return nn.Sequential(convolution(2, inputs, width), nn.LeakyReLU(SLOPE), last)

"""A U-Net for images of any size, in 2D and 3D."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from monai.networks.layers import Pool
from torch import nn

from trainers.networks.blocks import ResidualBlock, channels_last, convolution, gather, quiet, resize, shuffle


class ResidualUNet(nn.Module):
    """A U-Net on images of any size, residual at each level; its output begins near its bias.

    Args:
        spatial_dims: 2 or 3.
        inputs, outputs: channels of images. channels: of the levels, from fine to coarse.
        bias: what the output is before anything is learned.
        fold: voxels along each axis that the layers see as channels of one, which saves most of the time in 3D (Shi et
            al. 2016, equation 4).
        norm: see `ResidualBlock`.
    """

    def __init__(
        self,
        spatial_dims: int,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        bias: float = 0.0,
        fold: int = 1,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.halve = cast(nn.Module, Pool[Pool.AVG, spatial_dims](2, ceil_mode=True))
        self.fold = (fold,) * spatial_dims
        self.first = convolution(spatial_dims, inputs * fold**spatial_dims, channels[0])
        self.down = nn.ModuleList(ResidualBlock(spatial_dims, c, norm=norm) for c in channels)
        self.wider = nn.ModuleList(convolution(spatial_dims, a, b, 1) for a, b in itertools.pairwise(channels))
        self.narrower = nn.ModuleList(convolution(spatial_dims, b, a, 1) for a, b in itertools.pairwise(channels))
        self.up = nn.ModuleList(ResidualBlock(spatial_dims, c, norm=norm) for c in channels[:-1])
        self.last = quiet(convolution(spatial_dims, channels[0], outputs * fold**spatial_dims), bias)
        channels_last(self, spatial_dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, inputs, *size), each size a multiple of the fold, to (b, outputs, *size)."""
        y, kept = self.down[0](self.first(gather(x, self.fold))), []
        for wider, block in zip(self.wider, list(self.down)[1:], strict=True):
            kept.append(y)
            y = block(wider(self.halve(y)))
        for level in reversed(range(len(kept))):
            y = self.up[level](kept[level] + resize(self.narrower[level](y), kept[level].shape[2:]))
        return shuffle(self.last(y), self.fold)

"""Networks that make a better image of a measurement, and say how far off they may be.

All take what was measured, by keywords, and return a `Reconstruction`. `SuperResolver` and `UnrolledReconstructor`
cannot contradict it: their last layer is a projection on the images that agree with it, which holds for any weights.
For `Denoiser` and `Translator` there is none; how far they are from what was measured is shown beside the image. What
says how far off they are reads the features of the image and does not change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from trainers.networks.blocks import SLOPE, ResidualBlock, channels_last, convolution, gather, quiet, resize, shuffle
from trainers.networks.unet import ResidualUNet
from trainers.physics.kspace import keep_measured, zero_filled
from trainers.physics.sampling import back_project

FIRST_DOUBT = -2.3
"""Logarithm of the error that is expected before anything is learned: a tenth of the image's spread."""


class Reconstruction(NamedTuple):
    """What a network makes of a measurement.

    Attributes:
        image: (b, c, *size).
        log_error: logarithm of the error that it expects of each voxel, of the same shape.
    """

    image: torch.Tensor
    log_error: torch.Tensor


def expected_error(log_error: torch.Tensor) -> torch.Tensor:
    """The error that a network expects, from its logarithm, which is believed between -6 and 3.

    A unit is about the spread of the image's values: no error is expected below a four-hundredth of it. Without that
    floor one voxel in a flat background, surer than it should be, outweighs all others in training.
    """
    return log_error.float().clamp(-6, 3).exp()


class SuperResolver(nn.Module):
    """A coarse image on a grid that is finer by whole factors.

    Nearly all layers work on the coarse grid, where they cost least, and fine voxels are made of channels: Shi et al.,
    "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural network", CVPR
    2016, equation 4, in 2D and 3D. The residual blocks have no normalisation, as in Lim et al., "Enhanced deep residual
    networks for single image super-resolution", CVPRW 2017. The block averages of the output are the input.

    Args:
        spatial_dims: 2 or 3.
        factors: fine voxels that a coarse one is wide, for each axis.
        channels: of the layers on the coarse grid. fine_channels: of those on the fine one.
        blocks: residual blocks.
    """

    def __init__(
        self, spatial_dims: int, factors: Sequence[int], channels: int = 48, fine_channels: int = 16, blocks: int = 6
    ) -> None:
        super().__init__()
        self.factors = tuple(factors)
        many = fine_channels * int(torch.tensor(self.factors).prod())
        self.first = convolution(spatial_dims, 1, channels)
        self.body = nn.ModuleList(ResidualBlock(spatial_dims, channels) for _ in range(blocks))
        self.rise = convolution(spatial_dims, channels, many)
        self.last = _head(spatial_dims, fine_channels, fine_channels)
        self.doubt = _head(spatial_dims, fine_channels, 8, FIRST_DOUBT)
        channels_last(self, spatial_dims)

    def forward(self, coarse: torch.Tensor) -> Reconstruction:
        """(b, 1, *size) to (b, 1, *size * factors)."""
        y = first = self.first(coarse)
        for block in self.body:
            y = block(y)
        fine = shuffle(self.rise(y + first), self.factors)
        added, log_error = self.last(fine).float(), self.doubt(fine.detach()).float()
        size = added.shape[2:]
        return Reconstruction(back_project(resize(coarse, size) + added, coarse, self.factors), log_error)


class UnrolledReconstructor(nn.Module):
    """Undersampled Cartesian MR: small U-Nets, each followed by putting back the lines that were measured.

    Schlemper et al., "A deep cascade of convolutional neural networks for dynamic MR image reconstruction", IEEE TMI
    2018, section III; the U-Net as regulariser is that of Sriram et al., "End-to-end variational networks for
    accelerated MRI reconstruction", MICCAI 2020. Complex throughout: real and imaginary parts are two channels.

    Args:
        cascades: how many U-Nets. channels: of their levels, from fine to coarse.
    """

    def __init__(self, cascades: int = 4, channels: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.nets = nn.ModuleList(ResidualUNet(2, 2, 2, channels) for _ in range(cascades))
        self.doubt = ResidualUNet(2, 3, 1, channels[:2], FIRST_DOUBT)

    def forward(self, kspace: torch.Tensor, mask: torch.Tensor) -> Reconstruction:
        """Complex k-space (b, 1, x, y) and mask (b, 1, 1, y) to a complex image and the error of its magnitude."""
        image = start = zero_filled(kspace, mask)
        for net in self.nets:
            image = keep_measured(image + _complex(net(_real(image))), kspace, mask)
        with torch.no_grad():
            seen = torch.cat([_real(image), (image - start).abs()], 1)
        return Reconstruction(image, self.doubt(seen).float())


class Translator(nn.Module):
    """One modality of a slice from another: a U-Net that sees the slices beside it too.

    The generator of Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017,
    section 3.2.1, with residual blocks.

    Args:
        inputs: slices that are seen. channels: of the levels, from fine to coarse.
    """

    def __init__(self, inputs: int = 3, channels: Sequence[int] = (24, 48, 96, 96)) -> None:
        super().__init__()
        self.net = ResidualUNet(2, inputs, 1, channels)
        self.doubt = ResidualUNet(2, inputs + 1, 1, [max(4, c // 3) for c in channels[:3]], FIRST_DOUBT)

    def forward(self, source: torch.Tensor) -> Reconstruction:
        """(b, inputs, x, y) to (b, 1, x, y)."""
        image = self.net(source).float()
        return Reconstruction(image, self.doubt(torch.cat([source, image.detach()], 1)).float())


class Denoiser(nn.Module):
    """An image without its noise: what is taken away is learned, Zhang et al., "Beyond a Gaussian denoiser", TIP 2017.

    The layers see the image on a grid that is coarser by two, its voxels as channels, which costs an eighth in 3D:
    Zhang et al., "FFDNet: toward a fast and flexible solution for CNN-based image denoising", TIP 2018, section III.

    Args:
        spatial_dims: 2 or 3. channels: of the layers. blocks: residual blocks.
    """

    def __init__(self, spatial_dims: int, channels: int = 48, blocks: int = 6) -> None:
        super().__init__()
        self.factors = (2,) * spatial_dims
        self.first = convolution(spatial_dims, 2**spatial_dims, channels)
        self.body = nn.ModuleList(ResidualBlock(spatial_dims, channels) for _ in range(blocks))
        self.last = quiet(convolution(spatial_dims, channels, 2**spatial_dims))
        self.doubt = quiet(convolution(spatial_dims, channels, 2**spatial_dims), FIRST_DOUBT)
        channels_last(self, spatial_dims)

    def forward(self, noisy: torch.Tensor) -> Reconstruction:
        """(b, 1, *size), each size even, to the same."""
        y = first = self.first(gather(noisy, self.factors))
        for block in self.body:
            y = block(y)
        y = y + first
        added, log_error = (shuffle(x, self.factors).float() for x in (self.last(y), self.doubt(y.detach())))
        return Reconstruction(noisy + added, log_error)


def _real(image: torch.Tensor) -> torch.Tensor:
    """Complex (b, 1, x, y) to real and imaginary part, (b, 2, x, y)."""
    return torch.cat([image.real, image.imag], 1)


def _complex(parts: torch.Tensor) -> torch.Tensor:
    """The inverse of `_real`."""
    real, imaginary = parts.float().chunk(2, 1)
    return torch.complex(real, imaginary)


def _head(dimensions: int, inputs: int, width: int, bias: float = 0.0) -> nn.Module:
    """Two convolutions to one channel, which begins near its bias."""
    last = quiet(convolution(dimensions, width, 1), bias)
    return nn.Sequential(convolution(dimensions, inputs, width), nn.LeakyReLU(SLOPE), last)

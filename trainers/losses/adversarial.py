"""Adversarial losses: what a discriminator and a generator minimise, from the discriminator's raw scores."""

from __future__ import annotations

import torch
from torch.nn import functional


def hinge_discriminator(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Hinge loss of a discriminator: real scores above 1, fake ones below -1 cost nothing.

    Lim and Ye, "Geometric GAN", arXiv:1705.02894, 2017; Miyato et al., "Spectral normalization for generative
    adversarial networks", ICLR 2018, equation 16: L_D = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))].

    Args:
        real: scores of real samples, any shape; the mean is over all patches.
        fake: scores of generated samples.

    Returns:
        A scalar, at least 0.
    """
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_generator(fake: torch.Tensor) -> torch.Tensor:
    """Loss of the generator against a hinge discriminator, ibid., equation 17: L_G = -E[D(G(z))].

    Args:
        fake: scores of generated samples, any shape.

    Returns:
        A scalar, lower the more the discriminator is fooled.
    """
    return -fake.mean()

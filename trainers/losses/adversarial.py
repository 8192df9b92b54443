"""Adversarial losses: what a discriminator and a generator minimise, from the discriminator's raw scores.

`ADVERSARIAL` names them all; a new one is two functions and a row. Every function takes the scores of real and of
generated samples, before any sigmoid and of any shape, and returns a scalar: the mean is over all samples and patches.
Below, D is the score, sigma the logistic function, so that a paper's probability D is sigma(D) here, and
log sigma(t) = -softplus(-t) keeps the logarithms finite. A generator's loss that does not look at real samples takes
None for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class AdversarialLoss:
    """The two players' losses, both of (real scores, fake scores).

    Attributes:
        discriminator: minimised by the discriminator.
        generator: minimised by the generator; takes None for the real scores unless `needs_real`.
        needs_real: whether the generator's loss looks at real scores.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor | None, Tensor], Tensor]
    needs_real: bool = False


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Negative log-likelihood of telling real from fake.

    Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, equation 1, negated:
    L_D = -E[log sigma(D(x))] - E[log(1 - sigma(D(G(z))))].

    Returns:
        A scalar, at least 0; 2 log 2 for a discriminator that does not know.
    """
    return functional.softplus(-_precise(real)).mean() + functional.softplus(_precise(fake)).mean()


def minimax_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """The generator's part of the minimax game, ibid., equation 1: L_G = E[log(1 - sigma(D(G(z))))].

    Its gradient vanishes where the discriminator is sure (section 3): it saturates.

    Returns:
        A scalar, at most 0.
    """
    return -functional.softplus(_precise(fake)).mean()


def non_saturating_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """What a generator minimises in practice, ibid., section 3: L_G = -E[log sigma(D(G(z)))].

    Returns:
        A scalar, at least 0.
    """
    return functional.softplus(-_precise(fake)).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Negated estimate of the Wasserstein-1 distance by a critic, which must be kept Lipschitz (`penalties`).

    Arjovsky, Chintala, Bottou, "Wasserstein generative adversarial networks", ICML 2017, equations 2 and 3, negated:
    L_D = E[D(G(z))] - E[D(x)].
    """
    return _precise(fake).mean() - _precise(real).mean()


def wasserstein_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """The generator's part of the Wasserstein distance, ibid., theorem 3: L_G = -E[D(G(z))]."""
    return -_precise(fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance of scores to their targets, 1 for real and 0 for fake.

    Mao et al., "Least squares generative adversarial networks", ICCV 2017, equation 9 (equation 2 with a = 0 and
    b = c = 1): L_D = 1/2 E[(D(x) - 1)^2] + 1/2 E[D(G(z))^2].

    Returns:
        A scalar, at least 0.
    """
    return 0.5 * (_precise(real) - 1).square().mean() + 0.5 * _precise(fake).square().mean()


def least_squares_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """The generator's part, ibid., equation 9: L_G = 1/2 E[(D(G(z)) - 1)^2].

    Returns:
        A scalar, at least 0.
    """
    return 0.5 * (_precise(fake) - 1).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of a discriminator: real scores above 1, fake ones below -1 cost nothing.

    Lim and Ye, "Geometric GAN", arXiv:1705.02894, 2017; Miyato et al., "Spectral normalization for generative
    adversarial networks", ICLR 2018, equation 16: L_D = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))].

    Returns:
        A scalar, at least 0.
    """
    return functional.relu(1 - _precise(real)).mean() + functional.relu(1 + _precise(fake)).mean()


def hinge_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """Loss of the generator against a hinge discriminator, ibid., equation 17: L_G = -E[D(G(z))].

    Returns:
        A scalar, lower the more the discriminator is fooled.
    """
    return -_precise(fake).mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a discriminator that tells which of a pair is the real one; pairs are by index.

    Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard GAN", ICLR 2019, the
    relativistic standard GAN; Huang et al., "The GAN is dead; long live the GAN! A modern GAN baseline", NeurIPS 2024,
    equation 2 with f(t) = -softplus(-t), negated: L_D = E[softplus(-(D(x) - D(G(z))))]. Holds with R1 and R2 only
    (`penalties`).

    Returns:
        A scalar, at least 0; log 2 for a discriminator that does not know.

    Raises:
        ValueError: the scores cannot be paired.
    """
    return functional.softplus(-_difference(real, fake)).mean()


def relativistic_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """The generator's part, ibid., with the two players' roles exchanged: L_G = E[softplus(-(D(G(z)) - D(x)))].

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: there are no real scores, or the scores cannot be paired.
    """
    return functional.softplus(_difference(real, fake)).mean()


def _difference(real: Tensor | None, fake: Tensor) -> Tensor:
    if real is None:
        raise ValueError("The relativistic loss compares fake scores with real ones; give it both.")
    if real.shape != fake.shape:
        raise ValueError(
            f"The relativistic loss pairs scores by index; there are {tuple(real.shape)} real and "
            f"{tuple(fake.shape)} fake ones. Generate as many samples as there are real ones."
        )
    return _precise(real) - _precise(fake)


def _precise(scores: Tensor) -> Tensor:
    """Scores of mixed precision as float32, in which a sum of squares does not overflow; float64 stays."""
    return scores if scores.dtype is torch.float64 else scores.float()


ADVERSARIAL: dict[str, AdversarialLoss] = {
    "minimax": AdversarialLoss(minimax_discriminator, minimax_generator),
    "non_saturating": AdversarialLoss(minimax_discriminator, non_saturating_generator),
    "wasserstein": AdversarialLoss(wasserstein_discriminator, wasserstein_generator),
    "least_squares": AdversarialLoss(least_squares_discriminator, least_squares_generator),
    "hinge": AdversarialLoss(hinge_discriminator, hinge_generator),
    "relativistic": AdversarialLoss(relativistic_discriminator, relativistic_generator, needs_real=True),
}

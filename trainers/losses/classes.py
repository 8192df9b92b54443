"""Discriminators that know classes: an auxiliary classifier (ACGAN), and the projection score."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Negative log-likelihood of the true classes.

    Odena, Olah, Shlens, "Conditional image synthesis with auxiliary classifier GANs", ICML 2017, one term of
    equation 3, negated: -E[log P(C = c | X)]. The generator minimises it on what it made.

    Args:
        logits: (n, k), or (n, k, *patches) from a patch discriminator; mean over all.
        classes: indices (n,), below k.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: there is not one class below k for each sample.
    """
    _check_classes(classes, len(logits), logits.shape[1])
    patches = logits.shape[2:]
    each = classes.long().reshape(-1, *[1] * len(patches)).expand(-1, *patches)
    return functional.cross_entropy(logits if logits.dtype is torch.float64 else logits.float(), each)


def auxiliary_classifier(
    real_logits: Tensor, real_classes: Tensor, fake_logits: Tensor, fake_classes: Tensor
) -> Tensor:
    """What the discriminator's classifier minimises, ibid., equation 3, negated.

    L_C = E[log P(C = c | X_real)] + E[log P(C = c | X_fake)]; the discriminator maximises L_S + L_C, the generator
    L_C - L_S, with L_S of equation 2 the minimax loss of `adversarial`.

    Args:
        real_logits: (n, k) or (n, k, *patches).
        real_classes: indices (n,).
        fake_logits: of generated samples.
        fake_classes: those that they were made for.

    Returns:
        A scalar, at least 0. Raises ValueError as `class_loss` does.
    """
    return class_loss(real_logits, real_classes) + class_loss(fake_logits, fake_classes)


def projection_score(features: Tensor, embedded: Tensor, unconditional: Tensor) -> Tensor:
    """A discriminator's score of images under their classes.

    Miyato and Koyama, "cGANs with projection discriminator", ICLR 2018, equation 3:
    f(x, y) = y^T V phi(x) + psi(phi(x)).

    Args:
        features: phi(x), (n, d).
        embedded: y^T V, (n, d): a row of an embedding for each image.
        unconditional: psi(phi(x)), (n, 1).

    Returns:
        Scores (n, 1).

    Raises:
        ValueError: the shapes do not fit, so that scores would mix images.
    """
    if features.ndim != 2 or embedded.shape != features.shape or unconditional.shape != (len(features), 1):
        shapes = ", ".join(str(tuple(t.shape)) for t in (features, embedded, unconditional))
        raise ValueError(f"The projection needs (n, d), (n, d) and (n, 1); these are {shapes}.")
    return (embedded * features).sum(1, keepdim=True) + unconditional


def _check_classes(classes: Tensor, samples: int, known: int) -> None:
    """On a GPU the values are not looked at, which would wait for it."""
    if classes.shape != (samples,):
        raise ValueError(f"There must be one class index for each of {samples} samples, not {tuple(classes.shape)}.")
    if classes.device.type == "cpu" and samples and not 0 <= int(classes.min()) <= int(classes.max()) < known:
        raise ValueError(f"Classes must be from 0 to {known - 1}; these are from {classes.min()} to {classes.max()}.")

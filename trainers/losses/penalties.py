"""What keeps a discriminator smooth: penalties on its gradient with respect to images, and clipped weights.

A patch discriminator's score of an image is the mean over its patches, as in the adversarial losses. Penalties are
differentiable once more, so that the discriminator learns from them, and squares are summed in float32. A gradient of
a gradient in half precision is coarse: compute the scores that `r1_penalty` takes under `full_precision`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def full_precision(device: torch.device) -> torch.autocast:
    """A context without automatic mixed precision on a device."""
    return torch.autocast(device.type, enabled=False)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator | None = None,
    one_sided: bool = False,
) -> Tensor:
    """Squared distance to 1 of the critic's gradient norm between real and fake images (WGAN-GP).

    Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, equation 3 without its factor lambda
    (10 there): E[(||grad D(x^)|| - 1)^2], x^ = e x + (1 - e) G(z), e ~ U[0, 1] for each sample. Computed in float32
    whatever the automatic mixed precision around it.

    Args:
        critic: scores (n, ...) of images (n, c, *spatial); for a conditional one, a closure over the condition.
        real: images (n, c, *spatial).
        fake: generated images of the same shape; neither gets a gradient.
        generator: of random numbers, on the images' device; None is torch's global one.
        one_sided: leaves gradients below 1 alone, E[max(0, ||grad|| - 1)^2].

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: the shapes differ, or the scores do not depend on the images.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"Real and fake images must have one shape to be mixed: {tuple(real.shape)}, {tuple(fake.shape)}."
        )
    with full_precision(real.device), torch.enable_grad():
        mixed = _between(real, fake, generator).requires_grad_()
        norm = _flat_gradient(critic(mixed), mixed).norm(dim=1)
        excess = norm - 1
        return (excess.clamp(min=0) if one_sided else excess).square().mean()


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Half the squared norm of the discriminator's gradient at real images.

    Mescheder, Geiger, Nowozin, "Which training methods for GANs do actually converge?", ICML 2018, equation 9:
    R1 = gamma / 2 E[||grad D(x)||^2]; the 1/2 is in here, gamma is the caller's. Huang et al., NeurIPS 2024, use
    gamma (R1 + R2) in this notation.

    Args:
        scores: scores (n, ...) of `images`, computed from them while they required a gradient.
        images: (n, c, *spatial), as the discriminator saw them, i.e. augmented.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: the scores do not depend on the images.
    """
    with full_precision(images.device), torch.enable_grad():
        return 0.5 * _flat_gradient(scores, images).square().sum(1).mean()


def r2_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """The same at generated images, which must be detached from the generator: ibid., equation 10.

    Takes, returns and raises what `r1_penalty` does.
    """
    return r1_penalty(scores, images)


def clip_weights(network: nn.Module, limit: float) -> None:
    """Keeps every parameter within [-limit, limit], in place.

    Arjovsky, Chintala, Bottou, "Wasserstein generative adversarial networks", ICML 2017, algorithm 1, line 7
    (c = 0.01 there). Call it after an optimiser's step or before a forward pass, never between forward and backward.

    Raises:
        ValueError: the limit is not positive.
    """
    if not limit > 0:
        raise ValueError(f"Weights can be clipped to a positive limit only, not {limit}.")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.clamp_(-limit, limit)


def _between(real: Tensor, fake: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random point on the line from each fake to its real image."""
    dtype = torch.promote_types(torch.promote_types(real.dtype, fake.dtype), torch.float32)
    real, fake = real.detach().to(dtype), fake.detach().to(dtype)
    shape = (len(real), *[1] * (real.ndim - 1))
    share = torch.rand(shape, generator=generator, device=real.device, dtype=dtype)
    return share * real + (1 - share) * fake


def _flat_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Gradient (n, all voxels) of each image's score; float32, or float64 if the images are."""
    if not (images.requires_grad and scores.requires_grad):
        raise ValueError(
            "The scores do not depend on the images: call images.requires_grad_() before the discriminator."
        )
    total = scores.flatten(1).mean(1).sum() if scores.ndim > 1 else scores.sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("The scores were not computed from these images, so they have no gradient at them.")
    return (gradient if gradient.dtype is torch.float64 else gradient.float()).flatten(1)

"""Contrastive loss: two views of one image are to be alike, and unlike all other images."""

from __future__ import annotations

import torch
from torch.nn import functional


def nt_xent(one: torch.Tensor, two: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    """Normalised temperature-scaled cross-entropy over a batch of pairs of views.

    Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, equation 1:
    l(i, j) = -log(exp(sim(z_i, z_j) / t) / sum over k != i of exp(sim(z_i, z_k) / t)), the mean of l over both
    directions of all pairs; sim is the cosine.

    Args:
        one: projections of one view of each image, (n, d), n at least 2.
        two: projections of another view of the same images, in the same order.
        temperature: t, above 0.

    Returns:
        A scalar, at least 0.
    """
    z = functional.normalize(torch.cat([one, two]), dim=1)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(one))
    return functional.cross_entropy(similarity, partner)

"""Whether generated images look like real ones, and show all that real ones show, by nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.metrics.distribution import check_features, distances

Array = npt.NDArray[Any]


def precision_recall_density_coverage(real: Array, fake: Array, k: int = 5) -> dict[str, float]:
    """Fidelity and diversity from balls that reach to the k-th nearest neighbour within a set.

    Precision: share of fake images within some real image's ball; recall: share of real ones within some fake image's
    ball (Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", NeurIPS 2019,
    equations 1 and 2). Density: the number of real balls around a fake image, over k, may exceed 1; coverage: share of
    real images with a fake one in their ball (Naeem et al., "Reliable fidelity and diversity metrics for generative
    models", ICML 2020, section 3).

    Args:
        real: features (n, d).
        fake: features (m, d).
        k: neighbour that the ball reaches to.

    Returns:
        `precision`, `recall`, `density`, `coverage`; all higher is better. Of two equal distributions precision and
        recall are below 1, density is about 1 and coverage, with sets of one size, about 1 - 2^-k.

    Raises:
        ValueError: features of unlike shape, or not more than k rows.
    """
    real, fake = check_features(real, fake)
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(
            f"k is {k} with {len(real)} real and {len(fake)} fake images; give more than k images of each, k above 0."
        )
    between = distances(real, fake)
    in_real_ball = between <= _radii(real, k)[:, None]
    in_fake_ball = between <= _radii(fake, k)[None, :]
    return {
        "precision": float(in_real_ball.any(0).mean()),
        "recall": float(in_fake_ball.any(1).mean()),
        "density": float(in_real_ball.sum(0).mean() / k),
        "coverage": float(in_real_ball.any(1).mean()),
    }


def _radii(features: Array, k: int) -> Array:
    """Distance of each row to its k-th nearest other row."""
    within = distances(features, features)
    np.fill_diagonal(within, np.inf)
    return np.partition(within, k - 1, axis=1)[:, k - 1]

"""Distances between two sets of features: how far a generator's images are from real ones as a whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class KidScore(NamedTuple):
    """KID: mean over subsets, and the standard deviation among them."""

    mean: float
    std: float


def kid(real: Array, fake: Array, subsets: int = 50, subset_size: int | None = None, seed: int = 0) -> KidScore:
    """Kernel inception distance: unbiased squared MMD with the polynomial kernel (x.y / d + 1)^3.

    Binkowski et al., "Demystifying MMD GANs", ICLR 2018, section 4; the estimator is Gretton et al., "A kernel
    two-sample test", JMLR 2012, equation 3. Being unbiased, it may be below 0 when the sets are alike.

    Args:
        real: features (n, d).
        fake: features (m, d).
        subsets: number of random subsets.
        subset_size: rows of each set in a subset; None takes half of the smaller set, at most 1000.
        seed: of the subsets.

    Returns:
        Mean and standard deviation over subsets. The deviation is that of one subset, not of the mean.

    Raises:
        ValueError: features of unlike or wrong shape, fewer than 2 rows, or a subset larger than a set.
    """
    real, fake = check_features(real, fake)
    smaller = min(len(real), len(fake))
    size = subset_size if subset_size is not None else max(2, min(1000, smaller // 2))
    if not 2 <= size <= smaller:
        raise ValueError(f"subset_size is {size}; it must be from 2 to {smaller}, the size of the smaller set.")
    random = np.random.default_rng(seed)
    scores = []
    for _ in range(subsets):
        a, b = (x[random.choice(len(x), size, replace=False)] for x in (real, fake))
        scores.append(_unbiased(_cubic(a, a), _cubic(b, b), _cubic(a, b)))
    return KidScore(float(np.mean(scores)), float(np.std(scores)))


def check_features(*sets: Array, least: int = 2) -> tuple[npt.NDArray[np.float64], ...]:
    """The sets as float64, if all are (n, d) with one d, finite, and of at least `least` rows.

    Raises:
        ValueError: if not; says what is wrong and what to do.
    """
    done = tuple(np.asarray(s, dtype=np.float64) for s in sets)
    for features in done:
        if features.ndim != 2:
            raise ValueError(f"Features have shape {features.shape}; give (n, d), one row an image.")
        if len(features) < least:
            raise ValueError(f"There are features of {len(features)} images; at least {least} are needed.")
        if not np.isfinite(features).all():
            raise ValueError("Features have values that are not finite; look at the images they come from.")
    if len({f.shape[1] for f in done}) > 1:
        raise ValueError(f"Features differ in length: {[f.shape[1] for f in done]}; take them from one encoder.")
    return done


def _cubic(a: Array, b: Array) -> Array:
    """KID's kernel between all rows, (n, m)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def _unbiased(within_a: Array, within_b: Array, between: Array) -> float:
    """Gretton et al. 2012, equation 3, from the three kernel matrices."""
    n, m = between.shape
    a = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    b = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(a + b - 2 * between.mean())

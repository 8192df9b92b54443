"""Distances between two sets of features: how far a generator's images are from real ones as a whole."""

from __future__ import annotations

import warnings
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


def mmd(real: Array, fake: Array, bandwidth: float | None = None) -> float:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel exp(-|x - y|^2 / (2 s^2)).

    Gretton et al., "A kernel two-sample test", JMLR 2012, equation 3; s is the median distance within both sets
    together (ibid., section 8). It may be below 0 when the sets are alike. MONAI's MMDMetric has a linear kernel, which
    sees means alone.

    Args:
        real: features (n, d).
        fake: features (m, d).
        bandwidth: s; None takes the median distance.

    Raises:
        ValueError: features of unlike or wrong shape, or fewer than 2 rows.
    """
    real, fake = check_features(real, fake)
    n = len(real)
    both = np.concatenate([real, fake])
    squares = distances(both, both) ** 2
    if bandwidth is None:
        bandwidth = float(np.sqrt(np.median(squares[np.triu_indices(len(both), 1)]))) or 1.0
    kernel = np.exp(-squares / (2 * bandwidth**2))
    return _unbiased(kernel[:n, :n], kernel[n:, n:], kernel[:n, n:])


def fid(real: Array, fake: Array) -> float | None:
    """Fréchet distance between Gaussians fitted to both sets of features.

    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017,
    equation 6: |m - m_w|^2 + Tr(C + C_w - 2 (C C_w)^(1/2)). It is biased upwards, the more so the fewer the images:
    compare sets of one size alone. The square root is taken of the symmetric C^(1/2) C_w C^(1/2), which has the same
    trace and is real where that of MONAI's FIDMetric may not be.

    Args:
        real: features (n, d).
        fake: features (m, d).

    Returns:
        The distance; None, with a warning, if a set has no more images than features: its covariance is singular and
        the figure would say little.

    Raises:
        ValueError: features of unlike or wrong shape, or fewer than 2 rows.
    """
    real, fake = check_features(real, fake)
    fewest, d = min(len(real), len(fake)), real.shape[1]
    if fewest <= d:
        warnings.warn(f"No FID: {fewest} images for {d} features; use KID, or give more than {d}.", stacklevel=2)
        return None
    one, two = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, fake))
    root = _root(one)
    crossed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    apart = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    return float(max(0.0, apart + np.trace(one) + np.trace(two) - 2 * crossed))


def distances(a: Array, b: Array) -> npt.NDArray[np.float64]:
    """Euclidean distances (n, m) between the rows of a (n, d) and b (m, d)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


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


def _root(matrix: Array) -> Array:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

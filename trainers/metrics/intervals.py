"""How sure a figure is, and what the same figure is between real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Metrics = Callable[[Array, Array], Mapping[str, float]]
"""Named figures of (real, other), both (n, d)."""


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Array, value: float | None = None) -> Estimate:
        """The mean of repeated measurements, or `value`, within their 2.5th and 97.5th percentiles."""
        low, high = np.percentile(values, [2.5, 97.5])
        return cls(float(np.mean(values)) if value is None else float(value), float(low), float(high))

    def as_dict(self) -> dict[str, float | None]:
        """Plain numbers; what is not finite is None."""
        return {k: number if np.isfinite(number) else None for k, number in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def bootstrap_mean(scores: Array, replicates: int = 1000, seed: int = 0) -> Estimate:
    """The mean of scores, with the percentile interval of the bootstrap (Efron and Tibshirani 1993, section 13.3).

    Args:
        scores: one number an image or pair, (n,), n at least 2.
        replicates: resamplings.
        seed: of chance.

    Raises:
        ValueError: fewer than 2 scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"Scores have shape {scores.shape}; give at least 2 numbers in a row.")
    random = np.random.default_rng(seed)
    means = scores[random.integers(len(scores), size=(replicates, len(scores)))].mean(1)
    return Estimate.of(means, float(scores.mean()))


def compare(
    metrics: Metrics, real: Array, fake: Array, replicates: int = 40, most: int = 1000, seed: int = 0
) -> dict[str, tuple[Estimate, Estimate]]:
    """Figures between real and fake images, each beside its floor: the same figure between real and other real ones.

    All is measured on random halves drawn without replacement, of one size for both, since many figures depend on the
    size. The spread over halves of a set is about that of the whole set's figure (Politis and Romano, "Large sample
    confidence regions based on subsamples under minimal assumptions", Annals of Statistics 22, 1994); the bootstrap's
    repeated images would spoil distances to nearest neighbours and unbiased estimators.

    Args:
        metrics: takes (real, other), both (size, d); returns named figures.
        real: (n, d), n at least 4.
        fake: (m, d), m at least 4.
        replicates: draws of halves.
        most: largest size of a half; with larger sets the intervals are those of sets of twice this size.
        seed: of chance.

    Returns:
        (between real and fake, between real and real) by name. Figures that are NaN in some draw are NaN.

    Raises:
        ValueError: too few images.
    """
    size = _half(len(real), len(fake), most)
    random = np.random.default_rng(seed)
    against_fake, against_real = [], []
    for _ in range(replicates):
        one, other = _two_halves(real, size, random)
        against_fake.append(metrics(one, fake[random.choice(len(fake), size, replace=False)]))
        against_real.append(metrics(one, other))
    made, floors = _estimates(against_fake), _estimates(against_real)
    return {name: (made[name], floors[name]) for name in made}


def floor(metrics: Metrics, real: Array, replicates: int = 40, most: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Figures between two disjoint halves of the real images: what a perfect generator would get.

    Arguments and errors are those of `compare`.
    """
    size = _half(len(real), len(real), most)
    random = np.random.default_rng(seed)
    return _estimates([metrics(*_two_halves(real, size, random)) for _ in range(replicates)])


def _half(real: int, fake: int, most: int) -> int:
    size = min(real // 2, fake // 2, most)
    if size < 2:
        raise ValueError(f"There are {real} real and {fake} fake images; at least 4 of each are needed.")
    return size


def _two_halves(rows: Array, size: int, random: np.random.Generator) -> tuple[Array, Array]:
    order = random.permutation(len(rows))
    return rows[order[:size]], rows[order[size : 2 * size]]


def _estimates(measured: list[Mapping[str, float]]) -> dict[str, Estimate]:
    return {name: Estimate.of(np.array([figures[name] for figures in measured])) for name in measured[0]}

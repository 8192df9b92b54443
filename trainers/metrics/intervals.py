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
    means = [scores[random.integers(len(scores), size=len(scores))].mean() for _ in range(replicates)]
    return Estimate.of(np.array(means), float(scores.mean()))


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
    size = min(len(real) // 2, len(fake) // 2, most)
    if size < 2:
        raise ValueError(f"There are {len(real)} real and {len(fake)} fake images; at least 4 of each are needed.")
    random = np.random.default_rng(seed)
    measured: dict[str, list[tuple[float, float]]] = {}
    for _ in range(replicates):
        order = random.permutation(len(real))
        one, other = real[order[:size]], real[order[size : 2 * size]]
        made = fake[random.choice(len(fake), size, replace=False)]
        against_fake, against_real = metrics(one, made), metrics(one, other)
        for name, value in against_fake.items():
            measured.setdefault(name, []).append((value, against_real[name]))
    return {name: _pair(np.array(values)) for name, values in measured.items()}


def floor(metrics: Metrics, real: Array, replicates: int = 40, most: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Figures between two disjoint halves of the real images: what a perfect generator would get.

    Args and errors are those of `compare`.
    """
    return {name: both[1] for name, both in compare(metrics, real, real, replicates, most, seed).items()}


def _pair(values: Array) -> tuple[Estimate, Estimate]:
    return Estimate.of(values[:, 0]), Estimate.of(values[:, 1])

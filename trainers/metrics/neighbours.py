"""Nearest neighbours of synthetic images: are they nearer to training images than chance has it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.metrics.distribution import distances
from trainers.metrics.intervals import Estimate

Array = npt.NDArray[Any]
CLOSE = 5.0
"""Percentile of nearest distances that the low ratio compares: a few copies among many images show there."""
NEAR_COPY = 1.0
"""Percentile of the distances between neighbours in the training set, below which an image is a near-copy."""
SAME = 1e-4
"""Images are duplicates within this share of the median distance between neighbours in the training set."""


@dataclass(frozen=True)
class Ratios:
    """Distance to the nearest training image over that to the nearest held-out one; 1 is neutral, 0 a copy.

    Attributes:
        median: ratio of the median distances. low: ratio of their 5th percentiles. Both with equally many training and
            held-out images to be near to.
        whole: ratio of the 5th percentiles with the whole training set, whose copies a part of it may miss. Below 1 if
            it is larger than the held-out set; to be read beside that of real images alone.
    """

    median: Estimate
    low: Estimate
    whole: Estimate

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {name: estimate.as_dict() for name, estimate in vars(self).items()}


@dataclass(frozen=True)
class Copies:
    """Images of a set that all but repeat a training image.

    Attributes:
        images: size of the set. near: share nearer to a training image than 99 % of training images are to each other,
            with its 95 % interval. duplicates: number that are equal to a training image.
    """

    images: int
    near: Estimate
    duplicates: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {"images": self.images, "near": self.near.as_dict(), "duplicates": self.duplicates}


@dataclass(frozen=True)
class Distances:
    """Distances between all images of three sets: t training, h held out, s synthetic."""

    st: Array
    sh: Array
    ht: Array
    hh: Array
    nearest_tt: Array

    @classmethod
    def between(cls, train: Array, held_out: Array, synthetic: Array) -> Distances:
        """Of rows (n, d)."""
        pairs = ((synthetic, train), (synthetic, held_out), (held_out, train), (held_out, held_out))
        st, sh, ht, hh = (distances(a, b).astype(np.float32) for a, b in pairs)
        return cls(st, sh, ht, hh, nearest_other(train))


def nearest_other(rows: Array, batch: int = 512) -> Array:
    """Distance of each row to the nearest other row, (n,)."""
    out = np.empty(len(rows))
    for start in range(0, len(rows), batch):
        part = distances(rows[start : start + batch], rows)
        part[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        out[start : start + batch] = part.min(1)
    return out


def ratios(known: Distances, draws: int = 100, seed: int = 0) -> tuple[Ratios, Ratios]:
    """Ratios of synthetic images, and of held-out real ones as the measure of what chance has.

    Each draw takes, without replacement, equally many training and held-out images to be near to, and halves of the
    images that are looked up: synthetic ones, or the other half of the held-out. A set that is larger is denser, so its
    nearest images are nearer; equal sizes take this away. The spread over halves is about that of the whole sets (see
    `trainers.metrics.intervals.compare`). The ratio is that of Meehan et al. ("A non-parametric test to detect
    data-copying in generative models", AISTATS 2020, section 2) in spirit: training and held-out neighbours compared.

    Args:
        known: all distances.
        draws: of images.
        seed: of chance.

    Returns:
        (of synthetic, of held-out real images).
    """
    random = np.random.default_rng(seed)
    n_s, (n_h, n_t) = len(known.st), known.ht.shape
    size = min(n_h // 2, n_t)
    made, real = [], []
    for _ in range(draws):
        t = random.permutation(n_t)[:size]
        order = random.permutation(n_h)
        h, asked = order[:size], order[n_h // 2 :]
        s = random.permutation(n_s)[: max(1, n_s // 2)]
        made.append(_ratio(known.st[s], t, known.sh[np.ix_(s, h)]))
        real.append(_ratio(known.ht[asked], t, known.hh[np.ix_(asked, h)]))
    return _ratios(np.array(made)), _ratios(np.array(real))


def copies(to_train: Array, nearest_tt: Array) -> Copies:
    """Near-copies and duplicates of training images.

    Args:
        to_train: distances of a set to training images, (n, t).
        nearest_tt: distance of each training image to the nearest other one, (t,).
    """
    nearest = to_train.min(1)
    same = SAME * float(np.median(nearest_tt))
    limit = max(float(np.percentile(nearest_tt, NEAR_COPY)), same)
    return Copies(len(nearest), _share(int((nearest < limit).sum()), len(nearest)), int((nearest <= same).sum()))


def _ratio(to_train: Array, part: Array, to_held_out: Array) -> tuple[float, float, float]:
    """Ratios of percentiles of the nearest distances: median and 5th for a part of the training set, 5th for all."""
    near, nearest, other = (x.min(1) for x in (to_train[:, part], to_train, to_held_out))
    levels = ((near, 50.0), (near, CLOSE), (nearest, CLOSE))
    one, two, three = ((np.percentile(x, p) + 1e-9) / (np.percentile(other, p) + 1e-9) for x, p in levels)
    return float(one), float(two), float(three)


def _ratios(drawn: Array) -> Ratios:
    return Ratios(*(Estimate.of(column, float(np.median(column))) for column in drawn.T))


def _share(count: int, total: int, z: float = 1.96) -> Estimate:
    """A share and its Wilson interval (Wilson 1927)."""
    share = count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    reach = z / (1 + z**2 / total) * float(np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)))
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))

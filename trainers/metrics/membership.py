"""Membership inference: can an attacker tell from synthetic images alone who was in the training set?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from trainers.metrics.intervals import Estimate

Array = npt.NDArray[Any]
FALSE_POSITIVES = 0.01
FEWEST_FOR_RATE = 100


@dataclass(frozen=True)
class Membership:
    """How well the attack does.

    Attributes:
        auroc: of telling training from held-out images; 0.5 is chance, 1 is certainty.
        tpr: share of training images found at 1 % false alarms; chance is 0.01; None with under 100 held-out images.
    """

    auroc: Estimate
    tpr: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {"auroc": self.auroc.as_dict(), "tpr_at_1_percent_fpr": self.tpr.as_dict() if self.tpr else None}


def attack(members: Array, others: Array, replicates: int = 500, seed: int = 0) -> Membership:
    """The full black-box attack: an image is the likelier a member, the closer the nearest synthetic image is.

    Chen et al., "GAN-Leaks: a taxonomy of membership inference attacks against generative models", CCS 2020, section
    5.2: the score of x is -min over synthetic images g of the distance of x and g. True positives at few false ones are
    the measure of Carlini et al., "Membership inference attacks from first principles", S&P 2022, section III.

    Args:
        members: distance of each training image to its nearest synthetic image, (n,).
        others: the same of held-out images, (m,).
        replicates: of the bootstrap over images.
        seed: of chance.

    Raises:
        ValueError: fewer than 2 of either.
    """
    members, others = (-np.asarray(x, dtype=np.float64) for x in (members, others))
    if min(len(members), len(others)) < 2:
        raise ValueError(f"There are {len(members)} members and {len(others)} others; at least 2 of each are needed.")
    random = np.random.default_rng(seed)
    areas, rates = [], []
    rated = len(others) >= FEWEST_FOR_RATE
    for _ in range(replicates):
        a, b = (x[random.integers(len(x), size=len(x))] for x in (members, others))
        areas.append(auroc(a, b))
        if rated:
            rates.append(true_positive_rate(a, b))
    rate = Estimate.of(np.array(rates), true_positive_rate(members, others)) if rated else None
    return Membership(Estimate.of(np.array(areas), auroc(members, others)), rate)


def auroc(positive: Array, negative: Array) -> float:
    """Chance that a positive score is above a negative one, ties counting half (Hanley and McNeil 1982)."""
    ranks = rankdata(np.concatenate([positive, negative]))
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def true_positive_rate(positive: Array, negative: Array, false_positives: float = FALSE_POSITIVES) -> float:
    """Share of positives above the score that at most `false_positives` of the negatives exceed."""
    threshold = np.sort(negative)[::-1][int(false_positives * len(negative))]
    return float((positive > threshold).mean())

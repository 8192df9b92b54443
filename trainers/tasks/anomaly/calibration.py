"""What a score means: in how many healthy patients one has been seen that is as high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Worst = dict[str, tuple[float, float]]
"""Of each patient the highest score and the largest heat, over all images."""


class CalibrationError(ValueError):
    """Healthy patients too few for what is asked of them."""


@dataclass(frozen=True)
class Calibration:
    """Scores of healthy patients that the model did not learn from, one each.

    Promises hold for patients who are exchangeable with those: the same population, scanner and protocol. They are
    conformal: Vovk et al., "Algorithmic learning in a random world", 2005, section 2.2; Bates et al., "Testing for
    outliers with conformal p-values", Annals of Statistics 2023, equation 1.

    Attributes:
        scores: ascending.
    """

    scores: tuple[float, ...]

    @classmethod
    def of(cls, scores: Sequence[float] | npt.NDArray[Any]) -> Calibration:
        """Calibrates with scores in any order.

        Raises:
            CalibrationError: none, or not finite ones.
        """
        found = np.sort(np.asarray(scores, np.float64).ravel())
        if not len(found) or not np.isfinite(found).all():
            raise CalibrationError(f"{len(found)} scores of healthy patients were given; they must be finite numbers.")
        return cls(tuple(float(s) for s in found))

    def chance(self, score: float) -> float:
        """The share of healthy patients who score as high, at most: (1 + how many did) / (1 + how many there are)."""
        above = len(self.scores) - int(np.searchsorted(self.scores, score, side="left"))
        return (1 + above) / (1 + len(self.scores))

    def rarity(self, score: float) -> float:
        """The N of "seen in 1 of N healthy patients"; never more than the patients who were looked at, and one."""
        return 1 / self.chance(score)

    @property
    def least(self) -> float:
        """The lowest false-positive rate that so many patients can promise."""
        return 1 / (1 + len(self.scores))

    def threshold(self, false_positives: float) -> float:
        """The score that at most this share of healthy patients exceeds.

        Raises:
            CalibrationError: a share outside of 0 to 1, or smaller than so few patients can promise.
        """
        count = len(self.scores)
        if not 0 < false_positives < 1:
            raise CalibrationError(f"A false-positive rate is between 0 and 1, not {false_positives:g}.")
        rank = int(np.ceil((count + 1) * (1 - false_positives) - 1e-9))
        if rank > count:
            least = int(np.ceil(1 / false_positives - 1 - 1e-9))
            raise CalibrationError(
                f"{count} healthy patients cannot promise a false-positive rate of {false_positives:g}: {least} can. "
                "Give more, or ask for a higher rate."
            )
        return self.scores[rank - 1]

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean, for a spec."""
        return {"scores": [float(f"{s:.6g}") for s in self.scores]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibration:
        """The inverse of `as_dict`. Raises CalibrationError if there are no scores."""
        return cls.of(stored.get("scores", ()))


def calibration_of(worst: Worst) -> dict[str, list[float]]:
    """What a spec keeps of healthy patients: their `scores` and the `peaks` of their heat, each ascending."""
    columns = zip(*worst.values(), strict=True)
    return {key: Calibration.of(v).as_dict()["scores"] for key, v in zip(("scores", "peaks"), columns, strict=True)}

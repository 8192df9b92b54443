"""What a heat means: how many healthy patients show as much of it. Plain sentences for the clinician, no markup."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Mapping, Tuple

from .errors import CannotProcess


@dataclass(frozen=True)
class Calibration:
    """How hot an image is beside the healthy patients that its model was calibrated on.

    Attributes:
        score: How unusual the whole image is.
        chance: Share of healthy patients who score as high.
        healthy: How many healthy patients were looked at for the score.
        false_positives: False findings in a healthy patient that were asked for.
        threshold: The heat for them.
        peaks: The largest heat in each healthy patient, ascending.
    """

    score: float
    chance: float
    healthy: int
    false_positives: float
    threshold: float
    peaks: Tuple[float, ...] = ()

    @classmethod
    def from_json(cls, told: Any) -> Calibration:
        """Read `anomaly` of a result's params.

        Raises:
            CannotProcess: They do not say from which heat on something is unusual.
        """
        said: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
        threshold = _number(said.get("threshold"))
        if not math.isfinite(threshold):
            raise CannotProcess("The model did not say which heat is unusual.", "Tell the administrator.")
        return cls(
            score=_number(said.get("score")),
            chance=_number(said.get("chance")),
            healthy=int(said.get("healthy") or 0),
            false_positives=_number(said.get("false_positives")),
            threshold=threshold,
            peaks=tuple(sorted(float(peak) for peak in said.get("peaks") or ())),
        )

    def share(self, heat: float) -> float:
        """Return the share of healthy patients with a spot of this heat or more; one more patient is counted in."""
        hotter = len(self.peaks) - bisect_left(self.peaks, heat)
        return (1 + hotter) / (1 + len(self.peaks))


def score_text(known: Calibration) -> str:
    """Return what the score of a whole image means: `Score 3.2 or higher: seen in 1 of 83 healthy patients …`."""
    if not math.isfinite(known.score):
        return "The model gave no score of the whole image."
    score = f"Score {brief(known.score)} or higher"
    if not known.healthy or not math.isfinite(known.chance):
        return f"Score {brief(known.score)}. There are no healthy patients to compare it with."
    if _least(known.chance, known.healthy):
        nobody = f"none of the {known.healthy} that were looked at"
        return f"{score}: seen in fewer than 1 of {known.healthy + 1} healthy patients ({nobody})."
    return f"{score}: seen in {_of(known.chance)} healthy patients ({known.healthy} were looked at)."


def spot_text(known: Calibration, heat: float) -> str:
    """Return what a threshold means: `Heat 4.1 and above: 1 of 20 healthy patients has such a spot.`"""
    above, count = f"Heat {brief(heat)} and above", len(known.peaks)
    if not count:
        return f"{above}. There are no healthy patients to compare it with."
    share = known.share(heat)
    if _least(share, count):
        looked = f"none of the {count} healthy patients that were looked at has such a spot"
        return f"{above}: {looked}, so fewer than 1 of {count + 1}."
    if share == 1:
        return f"{above}: every healthy patient has such a spot."
    verb = "has" if _of(share).startswith("1 ") else "have"
    return f"{above}: {_of(share)} healthy patients {verb} such a spot."


def rate_text(known: Calibration, heat: float) -> str:
    """Return how many healthy patients have a spot of a heat, for a table: `1 of 20`, `< 1 of 121`."""
    if not known.peaks:
        return "–"
    share = known.share(heat)
    return ("< " if _least(share, len(known.peaks)) else "") + ("all" if share == 1 else _of(share))


def brief(number: float) -> str:
    """Return a heat or a score with three digits: `4.1`, `12.3`, `0.052`."""
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def _of(share: float) -> str:
    """Return a share as `1 of 20`; one of more than two in three as `75 of 100`."""
    one_in = round(1 / share)
    return f"1 of {one_in}" if one_in > 1 else f"{round(100 * share)} of 100"


def _least(share: float, count: int) -> bool:
    """Whether a share is the least that can be said after so many patients: not one of them was like that."""
    return share * (1 + count) < 1.05  # the server may have rounded


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan

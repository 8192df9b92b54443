"""How good a result is expected to be, and which studies deserve a look first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple

GREEN, AMBER, RED = "green", "amber", "red"
LIGHTS = (GREEN, AMBER, RED)
"""The lights of a server, the best first."""


@dataclass(frozen=True)
class Quality:
    """What a model's judge expects of one result; 80 of 100 such results lay between `low` and `high`."""

    expected: float
    low: float
    high: float
    light: str
    text: str = ""

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Optional[Quality]:
        """Read `quality` of a result's params; None when the version has no judge, or the server is an older one."""
        said = params.get("quality")
        if not isinstance(said, Mapping) or _number(said.get("expected_dice")) is None:
            return None
        expected = float(said["expected_dice"])
        low, high = _number(said.get("low")), _number(said.get("high"))
        light = str(said.get("light") or "")
        return cls(
            expected,
            expected if low is None else low,
            expected if high is None else high,
            light if light in LIGHTS else AMBER,
            str(said.get("text") or ""),
        )


@dataclass(frozen=True)
class ReviewStudy:
    """A study without a final label, and what is expected of the model on it; None when it was not scored yet.

    Attributes:
        version: The version that was scored.
        stale: Whether another version serves now.
        reserved: Whether it was handed out to somebody.
    """

    id: str
    expected: Optional[float] = None
    low: Optional[float] = None
    high: Optional[float] = None
    light: str = ""
    version: str = ""
    stale: bool = False
    reserved: bool = False

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ReviewStudy:
        """Read one of `studies`."""
        return cls(
            str(entry["id"]),
            _number(entry.get("expected_dice")),
            _number(entry.get("low")),
            _number(entry.get("high")),
            str(entry.get("light") or ""),
            str(entry.get("version") or ""),
            bool(entry.get("stale")),
            bool(entry.get("reserved")),
        )


@dataclass(frozen=True)
class ReviewList:
    """The studies without a final label, the worst first and those that were not scored last."""

    model: str
    version: str = ""
    scored: int = 0
    waiting: int = 0
    studies: Tuple[ReviewStudy, ...] = ()

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> ReviewList:
        """Read the answer of `GET /review/{model}`."""
        studies = [ReviewStudy.from_json(entry) for entry in answer.get("studies") or () if entry.get("id")]
        return cls(
            str(answer.get("model") or ""),
            str(answer.get("version") or ""),
            int(answer.get("scored") or 0),
            int(answer.get("waiting") or 0),
            tuple(sorted(studies, key=lambda study: 2.0 if study.expected is None else study.expected)),
        )


def _number(value: Any) -> Optional[float]:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

"""Which studies the clinicians called normal or abnormal for a model: they feed its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

NORMAL, ABNORMAL, NONE = "normal", "abnormal", ""
"""The verdicts on a study; the last takes one back."""


@dataclass(frozen=True)
class MarkedStudies:
    """What a server knows of a model's marked studies: how many of each kind, and study's id -> verdict."""

    normal: int = 0
    abnormal: int = 0
    studies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> MarkedStudies:
        """Read the answer of `GET /verdict/{model}`."""
        studies = answer.get("studies") or {}
        return cls(
            int(answer.get("normal") or 0),
            int(answer.get("abnormal") or 0),
            {str(image): str(verdict) for image, verdict in studies.items() if verdict},
        )

    def after(self, answer: Mapping[str, Any]) -> MarkedStudies:
        """Return what is known after the answer of `POST /verdict/{model}`."""
        image, verdict = str(answer.get("image") or ""), str(answer.get("verdict") or "")
        others = {known: said for known, said in self.studies.items() if known != image}
        return MarkedStudies.from_json({**answer, "studies": {**others, image: verdict}})

"""Which version of each model serves, what is being trained, and what has changed since it was last looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Tuple


@dataclass(frozen=True)
class ServingModel:
    """The version of a model that serves, since when (UTC, ISO), and why."""

    version: str
    since: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Serving:
    """The answer of `GET /serving`.

    Attributes:
        models: Model's name -> what serves.
        training: Whether a run goes on.
        submitted_since: Model's name -> labels that were submitted since its last run began.
        auto_train: After how many of them a run is queued by itself; 0 for never.
    """

    models: Mapping[str, ServingModel] = field(default_factory=dict)
    training: bool = False
    submitted_since: Mapping[str, int] = field(default_factory=dict)
    auto_train: int = 0

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Serving:
        """Read the answer of `GET /serving`."""
        entries = {name: entry for name, entry in (answer.get("models") or {}).items() if isinstance(entry, Mapping)}
        return cls(
            models={str(name): _model(entry) for name, entry in entries.items()},
            training=bool(answer.get("training")),
            submitted_since={str(name): int(n or 0) for name, n in (answer.get("submitted_since") or {}).items()},
            auto_train=int(answer.get("auto_train") or 0),
        )

    def news(self, seen: Mapping[str, str]) -> Tuple[NewVersion, ...]:
        """Return the models that serve another version than the one that was seen; unknown ones are no news."""
        changed = {
            name: model
            for name, model in self.models.items()
            if model.version and seen.get(name, model.version) != model.version
        }
        return tuple(NewVersion(name, model.version, model.reason) for name, model in changed.items())

    def seen(self) -> Dict[str, str]:
        """Return model's name -> version that serves."""
        return {name: model.version for name, model in self.models.items() if model.version}


@dataclass(frozen=True)
class NewVersion:
    """A version that serves since the clinician last looked."""

    model: str
    version: str
    reason: str = ""


def _model(entry: Mapping[str, Any]) -> ServingModel:
    return ServingModel(str(entry.get("version") or ""), str(entry.get("since") or ""), str(entry.get("reason") or ""))


def latest(news: Tuple[NewVersion, ...], older: Tuple[NewVersion, ...]) -> Tuple[NewVersion, ...]:
    """Return news after older ones, one a model."""
    fresh = {item.model for item in news}
    return (*[item for item in older if item.model not in fresh], *news)

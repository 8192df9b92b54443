"""Typed records of training runs, their verdicts, and the versions of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

RUNNING_STATES = ("starting", "training", "validating")
STOCK_STATES = {
    "SUBMITTED": "starting",
    "QUEUED": "queued",
    "RUNNING": "training",
    "DONE": "done",
    "ERROR": "failed",
    "STOPPED": "cancelled",
}
"""MONAI Label's word for the state of a run -> ours."""


def _curve(pairs: Any) -> Tuple[Tuple[int, float], ...]:
    return tuple((int(epoch), float(value)) for epoch, value in pairs or ())


@dataclass(frozen=True)
class GateCheck:
    """One comparison of a candidate with the version that serves; a value that was not measured is NaN."""

    name: str
    metric: str
    before: float
    after: float
    cases: int
    passed: bool

    @classmethod
    def from_json(cls, check: Mapping[str, Any]) -> GateCheck:
        """Read one of `checks` of a verdict."""
        before, after = check.get("before"), check.get("after")
        return cls(
            name=str(check.get("name") or ""),
            metric=str(check.get("metric") or ""),
            before=float("nan") if before is None else float(before),
            after=float("nan") if after is None else float(after),
            cases=int(check.get("cases") or 0),
            passed=bool(check.get("passed")),
        )


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate was promoted, why, and which version serves now."""

    promoted: bool
    version: str
    serving: str
    reason: str
    checks: Tuple[GateCheck, ...] = ()

    @classmethod
    def from_json(cls, verdict: Mapping[str, Any]) -> Verdict:
        """Read `verdict` of a training status."""
        return cls(
            promoted=bool(verdict.get("promoted")),
            version=str(verdict.get("version") or ""),
            serving=str(verdict.get("serving") or ""),
            reason=str(verdict.get("reason") or ""),
            checks=tuple(GateCheck.from_json(check) for check in verdict.get("checks") or ()),
        )


@dataclass(frozen=True)
class QueuedRun:
    """A run that waits for its turn at the server; `position` counts from 1; `requested` is UTC, ISO."""

    run: str
    model: str
    position: int
    requested: str = ""
    author: str = ""

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> QueuedRun:
        """Read one of `queue` of `/train/`."""
        texts = {key: str(entry.get(key) or "") for key in ("run", "model", "requested", "author")}
        return cls(position=int(entry.get("position") or 0), **texts)


@dataclass(frozen=True)
class TrainingStatus:
    """A training run of the server.

    Attributes:
        state: `none` (never trained), `queued`, `starting`, `training`, `validating`, `promoted`, `refused`,
            `cancelled`, `failed`, or `interrupted` (the server died; the run goes on when it is back); on a stock
            server `starting`, `training`, `done`, `failed` or `cancelled`.
        loss, metric: (epoch, value) pairs; epoch 0 of `metric` is the serving version before training.
        eta_seconds: Time left in seconds, or None when unknown.
        error: Why it failed, or empty.
        author: Who asked for it, or empty.
        cause: Why it was started: `asked`, or `5 new labels`; empty on older servers.
        position: Place in the queue, from 1; 0 when it does not wait.
        promise: What the run can and cannot promise, in the server's words; empty on older servers.
        started: When it began, in seconds since 1970 (UTC); 0 when unknown.
        queue: The runs that wait behind it.
    """

    state: str
    model: str = ""
    run: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    eta_seconds: Optional[float] = None
    loss: Tuple[Tuple[int, float], ...] = ()
    metric: Tuple[Tuple[int, float], ...] = ()
    metric_name: str = ""
    cases: Mapping[str, int] = field(default_factory=dict)
    verdict: Optional[Verdict] = None
    error: str = ""
    author: str = ""
    cause: str = ""
    position: int = 0
    started: float = 0.0
    promise: str = ""
    queue: Tuple[QueuedRun, ...] = ()

    @property
    def open(self) -> bool:
        """Whether there is something to follow: this run, or one that waits."""
        return self.running or bool(self.queue)

    @property
    def running(self) -> bool:
        """Whether the run goes on."""
        return self.state in RUNNING_STATES

    @property
    def fraction(self) -> float:
        """How much is done, 0…1."""
        if self.state not in ("none", "queued", "interrupted") and not self.running:
            return 1.0
        done, total = (self.step, self.steps) if self.steps else (self.epoch, self.epochs)
        return min(1.0, done / total) if total else 0.0

    @classmethod
    def from_json(cls, task: Mapping[str, Any]) -> TrainingStatus:
        """Read the answer of `/train/`, with or without its `medgan` part."""
        extra = task.get("medgan") or {}
        verdict, eta = extra.get("verdict"), extra.get("eta_seconds")
        return cls(
            state=str(extra.get("state") or STOCK_STATES.get(str(task.get("status")), "none")),
            model=str(extra.get("model") or task.get("model") or ""),
            run=str(extra.get("run") or task.get("id") or ""),
            epoch=int(extra.get("epoch") or 0),
            epochs=int(extra.get("epochs") or 0),
            step=int(extra.get("step") or 0),
            steps=int(extra.get("steps") or 0),
            seconds=float(extra.get("seconds") or 0.0),
            eta_seconds=None if eta is None else float(eta),
            loss=_curve(extra.get("loss")),
            metric=_curve(extra.get("metric")),
            metric_name=str(extra.get("metric_name") or ""),
            cases=extra.get("cases") or {},
            verdict=Verdict.from_json(verdict) if verdict else None,
            error=str(extra.get("error") or ""),
            author=str(extra.get("author") or ""),
            cause=str(extra.get("reason") or ""),
            position=int(extra.get("position") or 0),
            started=float(extra.get("started") or 0.0),
            promise=str(extra.get("promise") or ""),
            queue=tuple(QueuedRun.from_json(entry) for entry in task.get("queue") or ()),
        )


@dataclass(frozen=True)
class VersionInfo:
    """One version of a model; `state` is published, refused or candidate; `current` tells whether it serves."""

    version: str
    origin: str
    state: str
    created: str
    current: bool = False
    parent: str = ""
    checksum: str = ""
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], current: str) -> VersionInfo:
        """Read one of `versions`; `current` is the version that serves."""
        texts = ("origin", "state", "created", "parent", "checksum", "reason")
        version = str(entry["version"])
        return cls(
            version=version,
            current=version == current,
            metrics=entry.get("metrics") or {},
            **{key: str(entry.get(key) or "") for key in texts},
        )


@dataclass(frozen=True)
class VersionList:
    """All versions of a model, oldest first, and the one that serves."""

    model: str
    current: str
    versions: Tuple[VersionInfo, ...] = ()

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> VersionList:
        """Read the answer of `/models/{name}/versions`."""
        current = str(answer.get("current") or "")
        versions = tuple(VersionInfo.from_json(entry, current) for entry in answer.get("versions") or ())
        return cls(model=str(answer.get("model") or ""), current=current, versions=versions)

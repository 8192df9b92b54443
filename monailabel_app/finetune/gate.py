"""The gate: a candidate serves only if it is no worse than the version that serves, measured in the same run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

ROUNDING = 1e-6
METRIC = "dice_mean"
FIGURES = {METRIC: "Dice", "auroc": "AUROC"}


class Scores(Protocol):
    """What is compared: Dice over all labels, and of each."""

    @property
    def dice_mean(self) -> float:
        """Over labels, then cases."""

    @property
    def dice(self) -> Mapping[str, float]:
        """Of each label."""

    @property
    def per_case(self) -> Sequence[Any]:
        """One entry a case."""


@dataclass(frozen=True)
class Check:
    """One comparison. `limit` is how much the candidate may lose; None is a figure that could not be computed."""

    name: str
    metric: str
    before: float | None
    after: float | None
    cases: int
    limit: float
    passed: bool

    def text(self) -> str:
        """`Dice of posterior on 2 validation cases 0.78 -> 0.84`, `AUROC on 30 marked cases 0.91 -> 0.93`."""
        figure = FIGURES.get(self.metric) or f"Dice of {self.metric.removeprefix('dice_')}"
        change = f"{_shown(self.before)} -> {_shown(self.after)}"
        return f"{figure} on {self.cases} {self.name} {'case' if self.cases == 1 else 'cases'} {change}"


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and why."""

    promoted: bool
    reason: str
    checks: list[Check]

    def as_dicts(self) -> list[dict[str, Any]]:
        """The checks for JSON."""
        return [asdict(check) for check in self.checks]


def compare(name: str, before: Scores, after: Scores, limit: float, label_limit: float | None = None) -> list[Check]:
    """Compares two versions on the same cases, and of these on the labels that the candidate has a figure for.

    A label that is neither there nor found has no figure: a mean without it must not stand beside one with it. If only
    the candidate finds it, the serving version was right and counts with 1; the other way round nothing is gained.

    Args:
        name: `validation`, `trusted` or `reference`.
        before: the serving version's scores.
        after: the candidate's.
        limit: how much mean Dice may fall.
        label_limit: how much the Dice of one label may; None does not look.
    """
    cases = len(before.per_case)
    found = _by_label(before, after)
    means = (_average(found[0].values()), _average(found[1].values())) if found else (before.dice_mean, after.dice_mean)
    checks = [_check(name, METRIC, *means, cases, limit)]
    if label_limit is not None:
        old_dice, new_dice = found or (before.dice, after.dice)
        labels = [label for label in old_dice if math.isfinite(old_dice[label])]
        pairs = [(f"dice_{label}", old_dice[label], new_dice.get(label, math.nan)) for label in labels]
        checks += [_check(name, metric, old, new, cases, label_limit) for metric, old, new in pairs]
    return checks


def decide(checks: Sequence[Check]) -> Verdict:
    """Promotes if every check passed and there was something to check."""
    failed = [check for check in checks if not check.passed]
    means = [check.text() for check in checks if check.metric == METRIC]
    if not checks:
        return Verdict(False, "Nothing could be measured, so the serving version stays.", [])
    if failed:
        causes = "; ".join(f"{c.text()} (may fall by {c.limit:g})" for c in failed)
        return Verdict(False, f"The serving version stays: {causes}.", list(checks))
    return Verdict(True, f"{'; '.join(means)}.", list(checks))


def _by_label(before: Scores, after: Scores) -> tuple[dict[str, float], dict[str, float]] | None:
    """Mean Dice of each label, before and after, over the cases where the latter is finite; None if there are none."""
    later = {case["id"]: case["dice"] for case in after.per_case if isinstance(case, Mapping)}
    found: dict[str, list[tuple[float, float]]] = {}
    for case in before.per_case:
        if isinstance(case, Mapping):
            for label, old in case["dice"].items():
                new = later.get(case["id"], {}).get(label, math.nan)
                if math.isfinite(new):
                    found.setdefault(label, []).append((old if math.isfinite(old) else 1.0, new))
    if not found:
        return None
    old, new = ({label: _average(p[part] for p in pairs) for label, pairs in found.items()} for part in (0, 1))
    return old, new


def _average(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)


def _check(name: str, metric: str, before: float, after: float, cases: int, limit: float) -> Check:
    """A candidate without a figure fails, whatever the serving version has; a first figure is always welcome."""
    passed = math.isfinite(after) and (not math.isfinite(before) or after >= before - limit - ROUNDING)
    return Check(name, metric, _finite(before), _finite(after), cases, limit, passed)


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.3f}"

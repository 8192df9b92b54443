"""The gate's rules."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from monailabel_app.finetune.gate import compare, decide

NAN = math.nan


@dataclass
class Scores:
    dice: dict[str, float]
    per_case: list[int] = field(default_factory=lambda: [1, 2])

    @property
    def dice_mean(self) -> float:
        finite = [v for v in self.dice.values() if math.isfinite(v)]
        return sum(finite) / len(finite) if finite else NAN


def promoted(before: dict[str, float], after: dict[str, float], limit: float = 0.0, label: float | None = 0.02) -> bool:
    return decide(compare("validation", Scores(before), Scores(after), limit, label)).promoted


def test_better_is_promoted_and_says_so() -> None:
    verdict = decide(compare("validation", Scores({"a": 0.78}), Scores({"a": 0.84}), 0.0, 0.02))
    assert verdict.promoted
    assert verdict.reason == "Dice on 2 validation cases 0.780 -> 0.840."


def test_equal_is_promoted() -> None:
    assert promoted({"a": 0.8, "b": 0.7}, {"a": 0.8, "b": 0.7})


def test_worse_mean_is_refused_with_the_figures() -> None:
    verdict = decide(compare("validation", Scores({"a": 0.80}), Scores({"a": 0.79}), 0.0, 0.02))
    assert not verdict.promoted
    assert "serving version stays" in verdict.reason
    assert "0.800 -> 0.790" in verdict.reason


def test_tolerance_lets_a_little_pass() -> None:
    assert promoted({"a": 0.80}, {"a": 0.79}, limit=0.01)


def test_one_label_may_not_pay_for_another() -> None:
    assert not promoted({"a": 0.5, "b": 0.9}, {"a": 0.9, "b": 0.8})
    assert promoted({"a": 0.5, "b": 0.9}, {"a": 0.9, "b": 0.885})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": NAN, "b": 0.8}, {"a": 0.5, "b": 0.8}, False),  # mean falls to 0.65
        ({"a": 0.8}, {"a": NAN}, False),
        ({"a": 0.8, "b": 0.8}, {"a": 0.9, "b": NAN}, False),
        ({"a": NAN}, {"a": 0.3}, True),
        ({"a": NAN}, {"a": NAN}, False),
    ],
)
def test_figures_that_cannot_be_computed(before: dict[str, float], after: dict[str, float], expected: bool) -> None:
    assert promoted(before, after) is expected


@dataclass
class Cases:
    """Figures of cases; a mean is over those that are finite."""

    per_case: list[dict[str, object]]

    @property
    def dice(self) -> dict[str, float]:
        found = {label: [case["dice"][label] for case in self.per_case] for label in ("a", "b")}  # type: ignore[index]
        return {label: sum(v for v in d if v == v) / len([v for v in d if v == v]) for label, d in found.items()}

    @property
    def dice_mean(self) -> float:
        return sum(self.dice.values()) / 2


def of_cases(*dice: tuple[float, float]) -> Cases:
    return Cases([{"id": str(n), "dice": {"a": a, "b": b}} for n, (a, b) in enumerate(dice)])


def test_a_figure_that_falls_out_of_the_mean_does_not_raise_it() -> None:
    before, after = of_cases((0.9, 0.9), (0.0, 0.0)), of_cases((0.6, 0.6), (NAN, NAN))
    verdict = decide(compare("validation", before, after, 0.0, 0.02))
    assert not verdict.promoted and "0.900 -> 0.600" in verdict.reason
    verdict = decide(compare("validation", after, before, 0.0, 0.02))
    assert not verdict.promoted and "0.800 -> 0.450" in verdict.reason, "it is better where there is something"


def test_one_label_of_one_case_is_left_out_alone() -> None:
    before, after = of_cases((0.8, 0.6), (0.8, 0.0)), of_cases((0.8, 0.6), (0.7, NAN))
    mean, a, b = compare("validation", before, after, 0.0, 0.02)
    assert (mean.before, mean.after) == (0.7, 0.675) and not mean.passed
    assert (a.before, a.after, b.before, b.after) == (0.8, 0.75, 0.6, 0.6), "b is no longer invented: nothing gained"


def test_a_label_that_the_candidate_invents_counts_against_it() -> None:
    before, after = of_cases((0.8, 0.6), (0.8, NAN)), of_cases((0.9, 0.7), (0.9, 0.0))
    mean, a, b = compare("validation", before, after, 0.0, 0.02)
    assert (a.before, a.after, b.before, b.after) == (0.8, 0.9, 0.8, 0.35)
    assert not mean.passed and not b.passed


def test_nothing_measured_promotes_nothing() -> None:
    assert not decide([]).promoted


def test_forgetting_is_caught_although_validation_improves() -> None:
    checks = compare("validation", Scores({"a": 0.5}), Scores({"a": 0.9}), 0.0, 0.02)
    checks += compare("reference", Scores({"a": 0.9}), Scores({"a": 0.86}), 0.03)
    verdict = decide(checks)
    assert not verdict.promoted
    assert "reference" in verdict.reason
    assert [c["passed"] for c in verdict.as_dicts()] == [True, True, False]

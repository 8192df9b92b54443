"""Which study next: what each strategy looks at, and what it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from trainers.tasks.segmentation.choosing import DEFAULT, STRATEGIES, Pool, Seen

LABELS = ["head", "tail"]


def seen(entropy: float, **more: object) -> Seen:
    return Seen(entropy, **more)  # type: ignore[arg-type]


POOL = Pool(
    waiting={
        "a": seen(0.1, by_label={"head": 0.1, "tail": 0.9}, realism=2.0, expected_dice=0.9, features=[0.0, 0.0]),
        "b": seen(0.5, by_label={"head": 0.8, "tail": 0.1}, realism=1.0, expected_dice=0.6, features=[0.1, 0.0]),
        "c": seen(0.4, by_label={"head": 0.3, "tail": 0.3}, realism=-1.0, expected_dice=0.5, features=[0.2, 0.1]),
        "d": seen(0.2, by_label={"head": 0.2, "tail": 0.2}, realism=1.5, expected_dice=0.8, features=[9.0, 9.0]),
        "e": None,
    },
    labelled={"x": seen(0.3, features=[0.2, 0.2])},
    labels=LABELS,
)  # fmt: skip


def pick(strategy: str, pool: Pool = POOL, seed: int = 0) -> tuple[str, str]:
    choice = STRATEGIES[strategy][1](pool, np.random.default_rng(seed))
    return choice.study, choice.reason


@pytest.mark.parametrize(
    ("strategy", "study", "says"),
    [
        ("first", "a", "first by name"),
        ("entropy", "b", "least sure of it: 0.50 nats on average, of 4 studies"),
        ("realism", "c", "least like a clinician's label"),
        ("diversity", "d", "most unlike the studies labelled so far"),
    ],
)
def test_what_each_looks_at(strategy: str, study: str, says: str) -> None:
    chosen, reason = pick(strategy)
    assert chosen == study
    assert says in reason


def test_the_hybrid_takes_the_most_unlike_of_those_in_need() -> None:
    waiting = {f"n{i}": seen(1.0, realism=-5.0, expected_dice=0.4, features=[0.2, 0.2 + i / 100]) for i in range(2)}
    waiting["far"] = seen(0.99, realism=-4.9, expected_dice=0.41, features=[5.0, 5.0])
    easy = {f"z{i}": seen(0.01, realism=3.0, expected_dice=0.95, features=[50.0, 50.0]) for i in range(6)}
    chosen, reason = pick("hybrid", Pool({**waiting, **easy}, POOL.labelled, LABELS))
    assert chosen == "far"
    assert "expected Dice 0.41" in reason


def test_the_hybrid_without_a_label_takes_the_one_in_most_need() -> None:
    assert pick("hybrid", Pool(POOL.waiting, {}, LABELS))[0] == "c"


def test_a_study_in_which_nothing_is_found_is_uncertain_but_no_foreground() -> None:
    pool = Pool({"empty": seen(5.5, found=False), "a": seen(0.2), "b": seen(0.3)})
    assert pick("entropy", pool) == ("empty", "The model finds nothing in it.")
    assert {pick("foreground", pool, seed)[0] for seed in range(20)} == {"a", "b"}
    assert {pick("random", pool, seed)[0] for seed in range(40)} == {"a", "b", "empty"}


def test_strata_take_turns_and_noise_fades() -> None:
    early = Counter(pick("stratified", POOL, seed)[0] for seed in range(200))
    late = Pool(POOL.waiting, {f"x{i}": None for i in range(32)}, LABELS)
    settled = Counter(pick("stratified", late, seed)[0] for seed in range(200))
    assert set(settled) == {"a", "b"}  # the least certain tail, and the least certain head
    assert min(settled.values()) > 60
    assert set(early) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_choose_one_and_say_one_sentence_whatever_is_known(strategy: str) -> None:
    known = [
        POOL,
        Pool({"a": None, "b": None}),
        Pool({"a": seen(0.1), "b": seen(0.2)}),
        Pool({"a": seen(5.0, found=False)}),
    ]
    for pool in known:
        study, reason = pick(strategy, pool)
        assert study in pool.waiting
        assert reason.endswith(".") and reason[0].isupper() and "\n" not in reason


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT in STRATEGIES

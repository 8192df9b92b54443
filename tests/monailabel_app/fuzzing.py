"""How the fuzz tests search: briefly and always alike in the test suite, for minutes and anew if they are told so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("MEDGAN_FUZZ_SECONDS", "0"))
"""Of each search; 0 means a fixed number of examples, the same every time."""

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]
PHASES = [Phase.generate, Phase.shrink] if SECONDS else [Phase.generate]
ROUND = 200  # examples with one seed, if there is time


def search(strategy: SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """Applies `check` to examples of `strategy`; fails with the smallest one that it can find, if there is time.

    Args:
        strategy: what is tried. check: fails for what must not be. examples: how many, unless there is more time.
    """
    free = settings(deadline=None, database=None, phases=PHASES, suppress_health_check=CHECKS)
    fixed = settings(free, max_examples=examples, derandomize=True)
    fixed(given(strategy)(check))()
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        longer = settings(free, max_examples=ROUND)
        seed(number)(longer(given(strategy)(check)))()

"""Phases that take turns: when they change their networks, how fast, and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainers.test_fit import CONFIG, Line, StopAt
from trainers.fit import fit
from trainers.monitor import Cancelled, Monitor
from trainers.task import FitConfig, Phase


class Turns(Line):
    """Two networks under a constant pull: one at every step, the other at each `every`-th."""

    key_metric = ""

    def __init__(self, every: int, limit: float = 1e9) -> None:
        super().__init__()
        self.networks["other"] = nn.Linear(1, 1)
        self.every, self.limit, self.called = every, limit, 0

    def phases(self) -> list[Phase]:
        return [
            Phase("line", ("line",), lambda batch: self._pulled("line"), after=self._within),
            Phase("other", ("other",), lambda batch: self._pulled("other"), every=self.every),
        ]

    def _pulled(self, name: str) -> dict[str, torch.Tensor]:
        return {"pull": self.networks[name].weight.sum()}

    def _within(self) -> None:
        self.called += 1
        with torch.no_grad():
            self.networks["line"].weight.clamp_(min=-self.limit)


def moves(task: Turns, config: FitConfig, name: str) -> list[float]:
    """How far a network's weight goes at each step."""
    seen = [task.networks[name].weight.item()]

    class Watch(Monitor):
        def report(self, **state: Any) -> None:
            if "seconds" in state:
                seen.append(task.networks[name].weight.item())

    fit(task, config, monitor=Watch())
    return [a - b for a, b in pairwise(seen)]


def test_a_phase_may_take_its_turn_at_some_steps_alone() -> None:
    """Its learning rate follows the curve of the run, so that it ends where the others' does."""
    config = replace(CONFIG, steps=50, learning_rate=0.1, warmup=0.2)
    each, seldom = moves(Turns(1), config, "other"), moves(Turns(5), config, "other")
    assert [i + 1 for i, move in enumerate(seldom) if move] == list(range(5, 51, 5))
    assert [seldom[i] for i in range(4, 50, 5)] == pytest.approx([each[i] for i in range(0, 50, 5)], rel=1e-3)
    assert seldom[-1] < 0.005


def test_what_a_phase_does_after_its_step_is_seen_by_the_next_one() -> None:
    task = Turns(1, limit=0.25)
    with torch.no_grad():
        task.networks["line"].weight.fill_(0.5)
    down = moves(task, replace(CONFIG, steps=12, learning_rate=0.2), "line")
    assert task.called == 12
    assert sum(down) == pytest.approx(0.75) and task.networks["line"].weight.item() == -0.25


def test_the_last_phase_tells_its_loss_at_its_turns_alone() -> None:
    _, history = fit(Turns(3), replace(CONFIG, steps=8))
    assert [step for step, _ in history.losses] == [3, 6]


def test_an_average_follows_what_changed() -> None:
    """Of a network that moved twice in six steps it is the average of two states, as far back as six steps reach."""
    task = Turns(3)
    seen = []

    class Watch(Monitor):
        def report(self, **state: Any) -> None:
            if "seconds" in state:
                seen.append(task.networks["other"].weight.item())

    networks, _ = fit(task, replace(CONFIG, steps=6, ema=0.75), monitor=Watch())
    assert networks["other"].weight.item() == pytest.approx(0.75**3 * seen[2] + (1 - 0.75**3) * seen[5])


def test_turns_are_kept_by_a_run_that_goes_on(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=20)
    whole, _ = fit(Turns(3), config)
    with pytest.raises(Cancelled):
        fit(Turns(3), config, tmp_path, StopAt(8))
    resumed, _ = fit(Turns(3), config, tmp_path)
    for name in whole:
        for a, b in zip(whole[name].parameters(), resumed[name].parameters(), strict=True):
            assert torch.equal(a, b)

"""Progress on a terminal."""

from __future__ import annotations

import math
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainers.distributed import World
from trainers.monitor import Monitor


def console_monitor() -> AbstractContextManager[Monitor]:
    """A `ConsoleMonitor`; of several processes that train together only the first one shows anything."""
    return nullcontext(Monitor()) if World.from_environment().rank > 0 else ConsoleMonitor()


class ConsoleMonitor(Monitor):
    """Shows a bar with loss, metric and remaining time; without a terminal, a line every half minute."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("starting", total=None)
        self._state: dict[str, Any] = {}
        self._said = 0.0

    def __enter__(self) -> ConsoleMonitor:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def report(self, **state: Any) -> None:
        """Takes `step, steps, loss, eta_seconds` and `metrics`, as `trainers.fit.fit` tells them, and `stage`."""
        self._state.update(state)
        if "stage" in state:
            self._stage(str(state["stage"]))
        done, total = state.get("step"), self._state.get("steps")
        self._bar.update(self._task, completed=done, total=total, description=self._text())
        if "metrics" in state or ("step" in state and time.monotonic() - self._said > 30):
            self._said = time.monotonic()
            if not self._console.is_terminal:
                eta = self._state.get("eta_seconds", math.nan)
                self._console.print(f"step {done}/{total} {self._text()} eta {eta:.0f} s", highlight=False)

    def _stage(self, name: str) -> None:
        """What was told of the stage before does not hold for this one."""
        self._state = {"stage": name}
        self._said = 0.0
        if not self._console.is_terminal:
            self._console.print(name, highlight=False)

    def _text(self) -> str:
        parts = [self._state["stage"]] if "stage" in self._state and self._console.is_terminal else []
        parts += [f"loss {self._state['loss']:.3f}"] if "loss" in self._state else []
        parts += [f"{name} {value:.4f}" for name, value in self._state.get("metrics", {}).items()]
        return " ".join(parts)

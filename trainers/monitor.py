"""How anything long tells its progress and learns that it should stop."""

from __future__ import annotations

from typing import Any


class Cancelled(Exception):
    """The person or program that asked for the work no longer wants it."""


class Monitor:
    """A listener that hears nothing and never cancels; subclasses do one or both.

    Long functions call `report` with what changed (`progress=0.4`, or `epoch=3, loss=0.41`) and `check` at every
    point where stopping is safe.
    """

    def report(self, **state: Any) -> None:
        """Takes news of the work. Keys are those of the function that calls it."""

    def check(self) -> None:
        """Raises Cancelled if the work is to stop."""

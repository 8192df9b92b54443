"""What the soak notes: what was begun and what was acknowledged, and in what the state after a kill differs from it."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

OPENING, ANY = "opening", "*"
Facts = dict[str, Any]
"""What is so, by what it is about: `label a`, `score a`, `image x1`, `run …`, `version …`, `current`; None for none."""


@dataclass
class Tally:
    """What was seen in all kills."""

    kills: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def rows(self) -> list[dict[str, Any]]:
        """One row an operation, then all of them."""
        kinds = sorted(set(self.kills) | set(self.done))
        rows = [self._row(kind, self.kills[kind], self.done[kind], "") for kind in kinds]
        told = "; ".join(f"{name} {median(s):.2f}, {max(s):.2f}" for name, s in self.seconds.items() if s)
        return [*rows, self._row("all", self.kills.total(), self.done.total(), told)]

    def _row(self, kind: str, kills: int, done: int, seconds: str) -> dict[str, Any]:
        lost = len(self.lost) if kind == "all" else sum(text.startswith(f"{kind}:") for text in self.lost)
        return {"killed during": kind, "kills": kills, "acknowledged": done, "lost": lost, "opens in s": seconds}


class Ledger:
    """What was begun and what was done, on disk before anything else happens.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    @contextmanager
    def operation(self, kind: str, **facts: Any) -> Iterator[Facts]:
        """What is so when the body is done; the body may add what nobody could know before."""
        self._write({"kind": kind, "begun": facts})
        told: Facts = dict(facts)
        yield told
        self._write({"kind": kind, "done": told})

    def _write(self, line: Facts) -> None:
        os.write(self._handle, (json.dumps(line) + "\n").encode())
        os.fsync(self._handle)


def read_ledger(path: Path, before: Facts, tally: Tally) -> tuple[str, Facts, Facts]:
    """What was being done at the kill, what must be so, and what may be so beside that."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kind, facts, begun = OPENING, dict(before), Facts()
    for line in map(json.loads, lines):
        if "done" in line:
            facts |= {key: value for key, value in line["done"].items() if value != ANY}
            tally.done[line["kind"]] += 1
            kind, begun = "between two", {}
        else:
            kind, begun = line["kind"], line["begun"]
    return kind, facts, begun


def differences(expected: Facts, found: Facts, begun: Facts) -> list[str]:
    """What is neither as it was acknowledged nor as what was begun would have it."""
    wrong = []
    for key in sorted({*expected, *found}):
        told, seen = expected.get(key), found.get(key)
        allowed = [told, *_allowed(key, begun)]
        if seen not in allowed and not (ANY in allowed and seen != ""):
            wrong.append(f"{key} is {seen}, not {told}")
    return wrong


def _allowed(key: str, begun: Facts) -> list[Any]:
    return [begun[name] for name in (key, key.split(" ")[0]) if name in begun]

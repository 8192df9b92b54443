"""How much memory and time reading a small file takes."""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MEGABYTES = 64  # that reading a file of a few KB may take
SECONDS = 1.0  # of the processor
TRIES = 3


class Taken(NamedTuple):
    """What something takes: MiB beyond what the process had before, at most, and seconds of the processor."""

    megabytes: float
    seconds: float


def taken(act: Callable[[], object]) -> Taken:
    """What something takes; no memory where the system does not tell.

    The system counts all threads, what the allocator holds back, and what is done for the first time. So what seems to
    take too much is done again, and the least counts: what needs it takes it each time.
    """
    least = Taken(math.inf, math.inf)
    for number in range(TRIES):
        if number:
            gc.collect()
        _forget_peak()
        before, begun = _peak(), time.thread_time()
        act()
        least = Taken(min(least.megabytes, _peak() - before), min(least.seconds, time.thread_time() - begun))
        if least.megabytes < MEGABYTES and least.seconds < SECONDS:
            break
    return least


def _forget_peak() -> None:
    """Linux: the most memory that this process has taken counts from now on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """The most memory that this process has taken, in MiB; 0 where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0

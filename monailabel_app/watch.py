"""A process that a server started for itself stands back behind it, and must not outlive it."""

from __future__ import annotations

import os
import threading
import time

import psutil


def die_with(parent: int, every: float = 1.0) -> None:
    """Ends this process, at once and whatever it does, within `every` seconds of the end of process `parent`.

    If that has ended already, while this process was being loaded, this one ends before it has done anything.
    """
    process = _process(parent)
    if not _lives(process):
        os._exit(1)
    threading.Thread(target=_watch, args=(process, every), name="watch-parent", daemon=True).start()


def stand_back(parent: int, steps: int) -> None:
    """Lets others have the processor first, if this is a process of its own beside process `parent`."""
    if os.getpid() != parent:
        os.nice(steps)


def _watch(process: psutil.Process | None, every: float) -> None:
    while _lives(process):
        time.sleep(every)
    os._exit(1)


def _process(number: int) -> psutil.Process | None:
    try:
        return psutil.Process(number)
    except psutil.NoSuchProcess:
        return None


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

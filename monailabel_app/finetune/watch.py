"""A training process must not outlive the server that started it."""

from __future__ import annotations

import os
import threading
import time

import psutil


def die_with(parent: int, every: float = 1.0) -> None:
    """Ends this process, at once and whatever it does, within `every` seconds of the end of process `parent`."""
    threading.Thread(target=_watch, args=(parent, every), name="watch-parent", daemon=True).start()


def _watch(parent: int, every: float) -> None:
    try:
        process = psutil.Process(parent)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(every)
    except psutil.NoSuchProcess:
        pass
    os._exit(1)

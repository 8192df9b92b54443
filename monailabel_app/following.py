"""Clients that follow the training: each holds a connection open, so there is a limit, and an end with the server."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import anyio

from monailabel_app.errors import QUEUE_FULL, MedGANError

MOST = 64
THREADS = 2  # for all of them
LOOK_SECONDS = 0.5
HINT = "Ask for GET /train/ from time to time instead."


class Followers:
    """Those who follow.

    Args:
        most: as many there may be.
    """

    def __init__(self, most: int = MOST) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._leaving = threading.Event()
        self._look = threading.Lock()
        self._seen: tuple[float, Any] = (-math.inf, None)
        self.threads = anyio.CapacityLimiter(THREADS)

    @property
    def leaving(self) -> bool:
        """Whether the server ends, and nobody can go on following."""
        return self._leaving.is_set()

    def leave(self) -> None:
        """Lets all that follow come to an end."""
        self._leaving.set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A follower's place. Raises MedGANError `busy` if none is left."""
        if self.leaving or not self._places.acquire(blocking=False):
            raise MedGANError("busy", "Too many clients follow the training.", HINT, status=QUEUE_FULL)
        try:
            yield
        finally:
            self._places.release()

    def look(self, make: Callable[[], Any], fresh: bool) -> Any:
        """What `make` gives, for all who ask in a while together; `fresh` if it is not to be of before the question."""
        with self._look:
            if fresh or time.monotonic() - self._seen[0] >= LOOK_SECONDS:
                self._seen = (time.monotonic(), make())
            return self._seen[1]

    @contextmanager
    def until_the_end(self) -> Iterator[None]:
        """Hears, inside the block, of the signals that end the server.

        uvicorn waits for open connections when it is told to end; those of followers would be open as long as a
        training takes.
        """
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():  # no other thread can hear of signals
                stack.enter_context(self._hearing(signal.SIGINT))
                stack.enter_context(self._hearing(signal.SIGTERM))
            yield

    @contextmanager
    def _hearing(self, number: int) -> Iterator[None]:
        before: Any = signal.getsignal(number)
        if not callable(before):  # the process ends at once, and all connections with it
            yield
            return

        def heard(number: int, frame: FrameType | None) -> None:
            self.leave()
            before(number, frame)

        signal.signal(number, heard)
        try:
            yield
        finally:
            signal.signal(number, before)

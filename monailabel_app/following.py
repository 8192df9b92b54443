"""Clients that follow the training: each holds a connection open, so there is a limit, and an end with the server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from monailabel_app.errors import QUEUE_FULL, MedGANError

MOST = 64
HINT = "Ask for GET /train/ from time to time instead."


class Followers:
    """Those who follow.

    Args:
        most: as many there may be.
    """

    def __init__(self, most: int = MOST) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._leaving = threading.Event()

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
        if not self._places.acquire(blocking=False):
            raise MedGANError("busy", "Too many clients follow the training.", HINT, status=QUEUE_FULL)
        try:
            yield
        finally:
            self._places.release()

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

        def heard(number: int, frame: FrameType | None) -> None:
            self.leave()
            before(number, frame)

        if callable(before):  # else the process ends at once, and all connections with it
            signal.signal(number, heard)
        try:
            yield
        finally:
            if callable(before):
                signal.signal(number, before)

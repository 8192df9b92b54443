"""A small signal in plain Python; custom Qt signals crash under PythonQt."""

from __future__ import annotations

import logging
from typing import Any, Callable, List

logger = logging.getLogger(__name__)


class Signal:
    """A list of callables; a failing one is logged and does not keep the others from being called."""

    def __init__(self) -> None:
        self._slots: List[Callable[..., None]] = []

    def connect(self, slot: Callable[..., None]) -> Callable[..., None]:
        """Call `slot` on every emission; return it, so that `connect` can decorate a function."""
        if slot not in self._slots:
            self._slots.append(slot)
        return slot

    def disconnect(self, slot: Callable[..., None]) -> None:
        """Stop calling `slot`; unknown ones are ignored."""
        if slot in self._slots:
            self._slots.remove(slot)

    def emit(self, *args: Any) -> None:
        """Call every slot with `args`, on the caller's thread."""
        for slot in list(self._slots):
            try:
                slot(*args)
            except Exception:
                logger.exception("A listener failed")

"""Loaded models: verified once when loaded, kept by version, a few at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monailabel_app.registry import Version


class ModelCache:
    """Models in memory.

    Args:
        load: makes a model from a version's folder, on a device. size: how many stay on each device.
        devices: where models compute.
    """

    def __init__(self, load: Callable[[Path, str], Any], size: int = 3, devices: Sequence[str] = ("cpu",)) -> None:
        self._load, self.size, self.devices = load, size, tuple(devices)
        self._models: OrderedDict[tuple[str, str, str, str], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._turns: dict[tuple[str, str, str, str], threading.Lock] = {}

    def get(self, version: Version, device: str = "") -> Any:
        """The model of `version` on a device, by default the first.

        Raises:
            ModelNotAvailable: its weights are missing, damaged or do not fit.
        """
        key = (version.model, version.name, version.record.checksum, device or self.devices[0])
        with self._lock:
            if key in self._models:
                return self._used(key)
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:  # one loads, others that want the same wait; those that are loaded are given out meanwhile
            with self._lock:
                if key in self._models:
                    return self._used(key)
            version.verify()
            model = self._load(version.path, key[-1])
            with self._lock:
                self._models[key] = model
                self._turns.pop(key, None)
                return self._used(key)

    def _used(self, key: tuple[str, str, str, str]) -> Any:
        """A model that is there, as the last one to go. Call it with the lock."""
        self._models.move_to_end(key)
        while len(self._models) > self.size * len(self.devices):
            self._models.popitem(last=False)
        return self._models[key]

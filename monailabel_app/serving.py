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

    def get(self, version: Version, device: str = "") -> Any:
        """The model of `version` on a device, by default the first.

        Raises:
            ModelNotAvailable: its weights are missing, damaged or do not fit.
        """
        key = (version.model, version.name, version.record.checksum, device or self.devices[0])
        with self._lock:
            if key not in self._models:
                version.verify()
                self._models[key] = self._load(version.path, key[-1])
            self._models.move_to_end(key)
            while len(self._models) > self.size * len(self.devices):
                self._models.popitem(last=False)
            return self._models[key]

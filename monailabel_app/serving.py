"""Loaded models: verified once when loaded, kept by version, a few at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monailabel_app.registry import Version


class ModelCache:
    """Models in memory.

    Args:
        load: makes a model from a version's folder. size: how many stay.
    """

    def __init__(self, load: Callable[[Path], Any], size: int = 3) -> None:
        self._load, self._size = load, size
        self._models: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, version: Version) -> Any:
        """The model of `version`. Raises ModelNotAvailable if its weights are missing, damaged or do not fit."""
        key = (version.model, version.name, version.record.checksum)
        with self._lock:
            if key not in self._models:
                version.verify()
                self._models[key] = self._load(version.path)
            self._models.move_to_end(key)
            while len(self._models) > self._size:
                self._models.popitem(last=False)
            return self._models[key]

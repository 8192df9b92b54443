"""Versions and training runs, as the test server tells them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Dict, Optional

MODEL = "hippocampus_segmentation"
EPOCHS = 8
STARTED = 1795450500.0


@dataclass
class Version:
    """One version of the model."""

    name: str
    origin: str
    state: str
    dice: float
    parent: Optional[str] = None
    reason: str = ""

    @property
    def created(self) -> str:
        """When it was made."""
        return f"2026-11-{20 + int(self.name[1:])}T10:15:00Z"

    def to_json(self) -> Dict[str, Any]:
        """Returns the entry of `GET /models/{name}/versions`."""
        return {
            "version": self.name,
            "origin": self.origin,
            "state": self.state,
            "created": self.created,
            "parent": self.parent,
            "checksum": "sha256:" + hashlib.sha256(self.name.encode()).hexdigest(),
            "metrics": {"dice_mean": {"value": self.dice, "higher_is_better": True}},
            "reason": self.reason,
        }


@dataclass
class Run:
    """A training run; `dice` is what its candidate will reach."""

    name: str
    dice: float
    epoch: int = 0
    state: str = "starting"
    verdict: Optional[Dict[str, Any]] = None
    model: str = MODEL
    author: str = ""
    reason: str = "asked"
    started: float = 0.0

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.state in ("starting", "training", "validating")

    def progress(self, start: float) -> Dict[str, Any]:
        """Returns what `GET /train/` has under `medgan`; `start` is the metric before training."""
        epochs = range(1, self.epoch + 1)
        metric = [[0, start]] + [[e, round(start + (self.dice - start) * e / EPOCHS, 4)] for e in epochs]
        return {
            "model": self.model,
            "run": self.name,
            "state": self.state,
            "epoch": self.epoch,
            "epochs": EPOCHS,
            "step": self.epoch * 10,
            "steps": EPOCHS * 10,
            "eta_seconds": float((EPOCHS - self.epoch) * 6),
            "seconds": self.epoch * 6.0,
            "loss": [[e, round(0.62 * 0.8**e + 0.03 * (e % 2), 4)] for e in epochs],
            "metric": metric,
            "metric_name": "dice_mean",
            "verdict": self.verdict,
            "error": None,
            "author": self.author,
            "reason": self.reason,
            "resumed": 0,
            "started": self.started,
        }

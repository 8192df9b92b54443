"""Training runs: each has a folder with its progress, written by the training process and read by the server.

<data>/runs/20261123-101500-a1b2/progress.json
<data>/runs/20261123-101500-a1b2/cancel           appears when the run is to stop
"""

from __future__ import annotations

import secrets
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from trainers.files import atomic_write_json, atomic_write_text, read_json
from trainers.monitor import Cancelled, Monitor

ENDED = ("promoted", "refused", "cancelled", "failed")
PROGRESS, CANCEL = "progress.json", "cancel"
WRITE_SECONDS = 0.3
COPIED = ("epoch", "epochs", "step", "steps", "eta_seconds", "cases", "skipped", "verdict", "error")


class Run(Monitor):
    """One training run, seen by the process that trains.

    Args:
        folder: the run's folder. model: what is trained.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        earlier = read_run(folder.parent, folder.name) or {}
        self._started, self._written = float(earlier.get("started", time.time())), 0.0
        self._state: dict[str, Any] = {
            "model": model, "run": folder.name, "state": "starting", "epoch": 0, "epochs": 0, "step": 0, "steps": 0,
            "eta_seconds": None, "seconds": 0.0, "loss": [], "metric": [], "metric_name": "dice_mean",
            "cases": {"train": 0, "validation": 0, "synthetic": 0}, "skipped": [], "verdict": None, "error": None,
            "started": self._started,
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def report(self, **state: Any) -> None:
        """Takes `state`, what is in COPIED, and `loss` or `metric`, which are kept by epoch."""
        urgent = state.get("state", self._state["state"]) != self._state["state"]
        self._state |= {key: _short(state[key]) for key in ("state", *COPIED) if key in state}
        for curve in ("loss", "metric"):
            if state.get(curve) is not None:
                _put(self._state[curve], int(state.get("epoch", 0)), float(state[curve]))
        if urgent or time.time() - self._written > WRITE_SECONDS:
            self._write()

    def check(self) -> None:
        """Raises Cancelled if the run is to stop."""
        if (self.folder / CANCEL).exists():
            raise Cancelled(self.folder.name)

    def stage(self, name: str) -> None:
        """Enters `training` or `validating`."""
        self.check()
        self.report(state=name)

    def end(self, state: str, **more: Any) -> None:
        """Ends the run as `promoted`, `refused`, `cancelled` or `failed`."""
        self.report(state=state, eta_seconds=0.0, **more)
        self._write()

    def _write(self) -> None:
        self._written = time.time()
        self._state["seconds"] = round(self._written - self._started, 1)
        atomic_write_json(self.folder / PROGRESS, self._state)


def new_run(runs: Path, model: str) -> str:
    """Makes a run's folder with its first progress. Returns the run's name."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    Run(runs / name, model)
    return name


def read_run(runs: Path, name: str) -> dict[str, Any] | None:
    """A run's progress; None if there is none that can be read."""
    try:
        progress: dict[str, Any] = read_json(runs / name / PROGRESS)
        return progress
    except (OSError, ValueError):
        return None


def last_run(runs: Path) -> dict[str, Any] | None:
    """The progress of the newest run."""
    names = sorted(p.name for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
    return read_run(runs, names[-1]) if names else None


def request_cancel(runs: Path, name: str) -> None:
    """Tells a run to stop at its next safe point."""
    atomic_write_text(runs / name / CANCEL, "")


def close_run(runs: Path, name: str, state: str, error: str | None = None) -> None:
    """Ends, from outside, a run whose process is gone; one that has ended stays as it is."""
    progress = read_run(runs, name)
    if progress and progress["state"] not in ENDED:
        atomic_write_json(runs / name / PROGRESS, {**progress, "state": state, "error": error, "eta_seconds": 0.0})


def discard_run(runs: Path, name: str) -> None:
    """Removes a run that never began, so that it is not taken for the last one."""
    shutil.rmtree(runs / name, ignore_errors=True)


def close_abandoned(runs: Path) -> None:
    """Ends the runs that a server which is gone left behind."""
    for folder in runs.iterdir():
        close_run(runs, folder.name, "failed", "The server stopped while this run was going on.")


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _put(curve: list[list[float]], epoch: int, value: float) -> None:
    """One value an epoch, the last."""
    if curve and curve[-1][0] == epoch:
        curve.pop()
    curve.append([epoch, round(value, 4)])

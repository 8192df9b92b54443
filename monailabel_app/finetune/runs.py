"""Training runs: each has a folder, written by the server until the run begins and then by the training process.

<data>/runs/20261123-101500-a1b2/request.json     what was asked for
<data>/runs/20261123-101500-a1b2/begun.json       the version and the studies that the run began with
<data>/runs/20261123-101500-a1b2/progress.json
<data>/runs/20261123-101500-a1b2/cancel           appears when the run is to stop
<data>/runs/20261123-101500-a1b2/work             checkpoints; removed when the run ends
<data>/runs/20261123-101500-a1b2/studies          the files that it works with; removed when the run ends

The names sort in the order of the requests.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monailabel_app.errors import MedGANError
from monailabel_app.history import now
from monailabel_app.registry import Version
from monailabel_app.storage import remove_unfinished
from trainers.data.volumes import VolumeError
from trainers.files import atomic_write_json, atomic_write_text, read_json
from trainers.monitor import Cancelled, Monitor

QUEUED, STARTING, INTERRUPTED = "queued", "starting", "interrupted"
ENDED = ("promoted", "refused", "cancelled", "failed")
PROGRESS, REQUEST, BEGUN, CANCEL, WORK = "progress.json", "request.json", "begun.json", "cancel", "work"
HELD = "studies"
REMOVED = "removed meanwhile"
GONE = ("unknown_image", "unknown_label")
ASKED = "asked"
WRITE_SECONDS = 0.3
COPIED = ("epoch", "epochs", "step", "steps", "eta_seconds", "cases", "skipped", "promise", "verdict", "error")


class Run(Monitor):
    """One training run, seen by the process that trains. One that was interrupted goes on with its curves.

    Args:
        folder: the run's folder. model: what is trained.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.work, self.held = folder, folder / WORK, folder / HELD
        earlier = read_run(folder.parent, folder.name) or {}
        self._since, self._written = time.time(), 0.0
        self._seconds_before = float(earlier.get("seconds", 0.0))
        self._state = {**_blank(folder.name, model), **earlier, "state": STARTING}
        self._state["started"] = self._state["started"] or self._since
        folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def begin(self, version: str, studies: Iterable[str]) -> frozenset[str]:
        """Notes what the run begins with.

        Args:
            version: that it starts from.
            studies: that there are to learn from and to measure on.

        Returns:
            `studies` or, for a run that was interrupted, those that it began with. If another version serves since, it
            begins anew.
        """
        path = self.folder / BEGUN
        known = read_json(path) if path.exists() else {}
        if known.get("version") == version:
            return frozenset(known["studies"])
        shutil.rmtree(self.work, ignore_errors=True)
        self._state |= {"loss": [], "metric": []}
        names = sorted(studies)
        atomic_write_json(path, {"version": version, "studies": names})
        return frozenset(names)

    def report(self, **state: Any) -> None:
        """Takes `state`, what is in COPIED, and `loss` or `metric`, which are kept by epoch."""
        urgent = state.get("state", self._state["state"]) != self._state["state"] or "metric" in state
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

    def quiet(self) -> Monitor:
        """Lets something else be cancelled with the run, without its progress being taken for that of the training."""
        return _Quiet(self)

    def stage(self, name: str) -> None:
        """Enters `training` or `validating`."""
        self.check()
        self.report(state=name)

    def end(self, state: str, **more: Any) -> None:
        """Ends the run as `promoted`, `refused`, `cancelled` or `failed`."""
        self.report(state=state, eta_seconds=0.0, **more)
        self._write()
        _clear(self.folder)

    def _write(self) -> None:
        self._written = time.time()
        self._state["seconds"] = round(self._seconds_before + self._written - self._since, 1)
        atomic_write_json(self.folder / PROGRESS, self._state)


class _Quiet(Monitor):
    def __init__(self, run: Run) -> None:
        self._run = run

    def check(self) -> None:
        """As the run's."""
        self._run.check()


def new_run(
    runs: Path,
    model: str,
    options: dict[str, Any] | None = None,
    author: str = "",
    reason: str = ASKED,
    state: str = QUEUED,
    owner: str = "",
) -> str:
    """Makes a run's folder with its first progress. Returns the run's name.

    Args:
        runs: the folder of all runs.
        model: what is to be trained.
        options: as the trainer's schema says.
        author: who asked; empty if nobody told.
        reason: `asked`, or why the server began by itself.
        state: its first.
        owner: the subject of who asked; empty if that is not known.
    """
    folder = _new_folder(runs)
    atomic_write_json(folder / REQUEST, {"model": model, "options": options or {}, "owner": owner})
    told = {"author": author, "reason": reason, "requested": now(), "state": state}
    atomic_write_json(folder / PROGRESS, {**_blank(folder.name, model), **told})
    return folder.name


def read_run(runs: Path, name: str) -> dict[str, Any] | None:
    """A run's progress; None if there is none that can be read."""
    try:
        found = {**_blank(name, ""), **read_json(runs / name / PROGRESS)}
    except (OSError, ValueError, TypeError):
        return None
    return found if isinstance(found["state"], str) and isinstance(found["model"], str) else None


def options_of(runs: Path, name: str) -> dict[str, Any] | None:
    """The options of a run; None if they are not known."""
    try:
        options: dict[str, Any] = read_json(runs / name / REQUEST)["options"]
        return options
    except (OSError, ValueError, KeyError):
        return None


def owner_of(runs: Path, name: str) -> str:
    """The subject of who asked for a run; empty if that is not known."""
    try:
        return str(read_json(runs / name / REQUEST).get("owner", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def run_names(runs: Path) -> list[str]:
    """All runs, oldest first."""
    return sorted(p.name for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []


def last_run(runs: Path) -> dict[str, Any] | None:
    """The progress of the newest run that has begun."""
    found = (read_run(runs, name) for name in reversed(run_names(runs)))
    return next((progress for progress in found if progress and progress["started"]), None)


def request_cancel(runs: Path, name: str) -> None:
    """Tells a run to stop at its next safe point."""
    atomic_write_text(runs / name / CANCEL, "")


def update_run(runs: Path, name: str, **changes: Any) -> None:
    """Changes, from outside, the progress of a run that no process works on."""
    atomic_write_json(runs / name / PROGRESS, {**(read_run(runs, name) or {}), **changes})


def close_run(runs: Path, name: str, state: str, error: str | None = None, **more: Any) -> None:
    """Ends, from outside, a run whose process is gone; one that has ended stays as it is."""
    progress = read_run(runs, name)
    if progress and progress["state"] not in ENDED:
        update_run(runs, name, state=state, error=error, eta_seconds=0.0, **more)
    _clear(runs / name)


def verdict_shown(judged: Version, serving: str) -> dict[str, Any]:
    """What a run's progress tells of the gate's verdict on its candidate."""
    record = judged.record
    told = {"promoted": record.state == "published", "version": judged.name, "serving": serving}
    return {**told, "reason": record.reason, "checks": record.checks}


def remove_unfinished_runs(runs: Path) -> None:
    """Removes what a server that was killed left: files that it was writing, and runs that nobody was told of yet."""
    remove_unfinished(runs)
    for name in run_names(runs):
        if not (runs / name / PROGRESS).exists():
            shutil.rmtree(runs / name, ignore_errors=True)


def told_of(error: MedGANError | VolumeError) -> str:
    """Why a study is passed over. What is wrong with the server and not with the study is raised again."""
    if isinstance(error, MedGANError) and error.code not in GONE:
        raise error
    return REMOVED if isinstance(error, MedGANError) else str(error)


def hold(file: Path, folder: Path) -> Path:
    """Makes a file stay for a run, whatever becomes of the study: a second name for it, or a copy on another disk.

    Args:
        file: it.
        folder: of the run, made if it is not there.

    Returns:
        The file of the same name in `folder`.

    Raises:
        FileNotFoundError: it is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(file, target)
    return target


def _clear(folder: Path) -> None:
    """Removes what a run that has ended does not need."""
    for name in (WORK, HELD):
        shutil.rmtree(folder / name, ignore_errors=True)


def _blank(name: str, model: str) -> dict[str, Any]:
    return {
        "model": model, "run": name, "state": STARTING, "author": "", "reason": ASKED, "requested": "", "resumed": 0,
        "epoch": 0, "epochs": 0, "step": 0, "steps": 0, "eta_seconds": None, "seconds": 0.0,
        "loss": [], "metric": [], "metric_name": "dice_mean",
        "cases": {"train": 0, "validation": 0, "synthetic": 0}, "skipped": [], "verdict": None, "error": None,
        "started": None,
    }  # fmt: skip


def _new_folder(runs: Path) -> Path:
    """A folder named by the time, to a 65536th of a second."""
    while True:
        moment = datetime.now(timezone.utc)
        folder = runs / f"{moment:%Y%m%d-%H%M%S}-{moment.microsecond * 65536 // 1_000_000:04x}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            time.sleep(1e-4)


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _put(curve: list[list[float]], epoch: int, value: float) -> None:
    """One value an epoch, the last."""
    curve[:] = sorted([*(point for point in curve if point[0] != epoch), [epoch, round(value, 4)]])

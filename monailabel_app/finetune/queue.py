"""The queue of training runs: one trains, the others wait their turn; all of them outlive the server.

What is known of a run is in its folder (`runs.py`), so a server that starts again finds its queue there. A run that was
going on when the server ended goes on from its last checkpoint before those that wait begin.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from monailabel_app.errors import MedGANError
from monailabel_app.finetune.runs import (
    ASKED,
    ENDED,
    INTERRUPTED,
    QUEUED,
    STARTING,
    close_run,
    new_run,
    options_of,
    read_run,
    remove_unfinished_runs,
    request_cancel,
    run_names,
    update_run,
    verdict_shown,
)
from monailabel_app.names import is_lookup
from monailabel_app.registry import Registry, Version

logger = logging.getLogger(__name__)

MOST_RESUMED = 3
TICK_SECONDS = 0.5
LEAVE_SECONDS = 10.0
GONE = "The training process ended without a word; perhaps the computer was out of memory. The log may tell more."
TOO_OFTEN = f"The server stopped {MOST_RESUMED + 1} times while this run was going on; it is not tried again."
NOT_STARTED = "The training could not be started; the reason is in the server's log."
UNKNOWN = "The server stopped while this run was going on, and what was asked for is not known any more."
UNJUDGED = "The server stopped before this version was measured; its run made another."


class Process(Protocol):
    """The one process that trains."""

    def start(self, request: dict[str, Any]) -> None:
        """Starts it."""

    def run(self) -> str | None:
        """The run that it works on; None if there is no such process."""

    def kill(self) -> None:
        """Ends it and waits until it is gone."""


class TrainingQueue:
    """All training runs of a server.

    Args:
        runs: the folder of their folders. process: what trains. registry: versions of the models.
    """

    def __init__(self, runs: Path, process: Process, registry: Registry) -> None:
        self._runs, self._process, self._registry = Path(runs), process, registry
        self._lock = threading.RLock()
        self._waiting: list[str] = []
        self._begun = ""
        self._last_begin: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="training-queue", daemon=True)

    def open(self) -> None:
        """Takes up what an earlier server left, and begins to start runs by itself."""
        remove_unfinished_runs(self._runs)
        with self._lock:
            left = [progress for name in run_names(self._runs) if (progress := read_run(self._runs, name))]
            for progress in left:
                self._note_begin(progress)
            interrupted = [progress["run"] for progress in left if self._goes_on(progress)]
            self._waiting = interrupted + [p["run"] for p in left if p["state"] == QUEUED]
        self._thread.start()

    def close(self) -> None:
        """Ends the run that goes on, so that it goes on when the server starts again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            run = self._process.run()
            self._process.kill()
            if run and not self._has_ended(run):
                update_run(self._runs, run, state=INTERRUPTED)

    def add(self, model: str, options: dict[str, Any], author: str = "", reason: str = ASKED, owner: str = "") -> str:
        """Asks for a run, as `new_run`, which begins at once if none goes on. Returns its name.

        Raises:
            MedGANError: `busy`, if a run of the model waits already.
        """
        with self._lock:
            if any(progress["model"] == model for progress in self.waiting()):
                hint = "It will learn from all that is labelled when it begins."
                raise MedGANError("busy", f"A training run of {model} waits already.", hint)
            run = new_run(self._runs, model, options, author, reason, owner=owner)
            self._waiting.append(run)
            self.dispatch()
        return run

    def dispatch(self) -> None:
        """Begins the next run, if none goes on."""
        with self._lock:
            if self._process.run():
                return
            if self._begun:
                self._close(self._begun, "failed", GONE)
                self._begun = ""
            while self._waiting and not self._begun:
                self._begin(self._waiting[0])  # stays in the queue if not even that can be noted: a full disk
                self._waiting.pop(0)

    def cancel(self, run: str) -> None:
        """Ends a run, also one that waits; one that has ended stays as it is. Raises MedGANError `unknown_run`."""
        model = self.progress(run)["model"]
        with self._lock:
            if run in self._waiting:
                self._waiting.remove(run)
                close_run(self._runs, run, "cancelled")
                return
            with self._registry.lock(model):
                stops = self._process.run() == run and not self._has_ended(run)
                if stops:
                    request_cancel(self._runs, run)
                    self._process.kill()
                    self._registry.remove_unfinished(model)
            if stops:
                self._close(run, "cancelled")

    def progress(self, run: str) -> dict[str, Any]:
        """A run's progress, with its place among those that wait. Raises MedGANError `unknown_run`."""
        position = self._position(run)  # first: it waits while a run is being ended, which what is read then tells
        known = read_run(self._runs, run) if is_lookup(run) else None
        if known is None:
            raise MedGANError("unknown_run", f"There is no training run {run[:80]!r}.")
        return {**known, "position": position}

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The progress of the newest runs, newest first."""
        found = (read_run(self._runs, name) for name in reversed(run_names(self._runs)))
        newest = itertools.islice(filter(None, found), limit)
        return [{**progress, "position": self._position(progress["run"])} for progress in newest]

    def waiting(self) -> list[dict[str, Any]]:
        """The progress of the runs that wait, the next one first."""
        with self._lock:
            return [self.progress(run) for run in self._waiting]

    def going_on(self) -> dict[str, Any] | None:
        """The progress of the run that goes on; None if none does."""
        run = self._process.run()
        return self.progress(run) if run and not self._has_ended(run) else None

    def last_begin(self, model: str) -> float:
        """When the model's last run began, in seconds since 1970; 0 if there was none."""
        return self._last_begin.get(model, 0.0)

    def let_leave(self) -> None:
        """Gives a run that has its verdict time to end its process, so that the next need not wait in the queue."""
        end = time.monotonic() + LEAVE_SECONDS
        while (run := self._process.run()) and self._has_ended(run) and time.monotonic() < end:
            time.sleep(0.1)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self.dispatch()
            except Exception:
                logger.exception("The next training run could not be started.")
            self._stopping.wait(TICK_SECONDS)

    def _begin(self, run: str) -> None:
        progress = self.progress(run)
        resumed = progress["resumed"] + (progress["state"] == INTERRUPTED)
        started = progress["started"] or time.time()
        update_run(self._runs, run, state=STARTING, resumed=resumed, started=started)
        self._note_begin({**progress, "started": started})
        options = options_of(self._runs, run) or {}
        try:
            self._process.start({"model": progress["model"], "run": run, **options})
            self._begun = run
        except Exception as error:
            logger.exception("The training run %s could not be started.", run)
            close_run(self._runs, run, "failed", str(error) if isinstance(error, MedGANError) else NOT_STARTED)

    def _note_begin(self, progress: dict[str, Any]) -> None:
        model, started = progress["model"], progress["started"] or 0.0
        self._last_begin[model] = max(started, self.last_begin(model))

    def _goes_on(self, progress: dict[str, Any]) -> bool:
        """Whether a run of an earlier server is to be taken up; those that are not are closed."""
        run = progress["run"]
        if progress["state"] in (QUEUED, *ENDED) or self._was_judged(progress):
            return False
        reason = UNKNOWN if options_of(self._runs, run) is None else ""
        reason = reason or (TOO_OFTEN if progress["resumed"] >= MOST_RESUMED else "")
        if reason:
            close_run(self._runs, run, "failed", reason)
        else:
            update_run(self._runs, run, state=INTERRUPTED)
        return not reason

    def _close(self, run: str, state: str, error: str | None = None) -> None:
        """Ends a run whose process is gone: as the gate decided, if it had, though the process had not noted it yet."""
        if self._has_ended(run) or not self._was_judged(self.progress(run)):
            close_run(self._runs, run, state, error)

    def _was_judged(self, progress: dict[str, Any]) -> bool:
        """Whether the gate had spoken when the process ended. A candidate that was not measured is done with."""
        for version in self._made_by(progress):
            if version.record.state == "candidate":
                self._registry.judge(version, False, UNJUDGED, [])
            elif version.record.reason != UNJUDGED:
                promoted = version.record.state == "published"
                verdict = verdict_shown(version, version.name if promoted else version.record.parent or "")
                close_run(self._runs, progress["run"], "promoted" if promoted else "refused", verdict=verdict)
                return True
        return False

    def _made_by(self, progress: dict[str, Any]) -> list[Version]:
        try:
            return [v for v in self._registry.versions(progress["model"]) if v.record.run == progress["run"]]
        except MedGANError:
            return []

    def _position(self, run: str) -> int | None:
        with self._lock:
            return self._waiting.index(run) + 1 if run in self._waiting else None

    def _has_ended(self, run: str) -> bool:
        return (read_run(self._runs, run) or {"state": "failed"})["state"] in ENDED

"""Inference jobs: who waits, who computes, how far each one is, and how it is cancelled."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from monailabel_app.errors import QUEUE_FULL, RETRY_SECONDS, MedGANError
from trainers.monitor import Cancelled, Monitor

KEPT = 200  # finished jobs that can still be asked about
POLL = 0.2  # seconds between looks at whether a waiting job was cancelled
ACTIVE = ("queued", "running")


class Job(Monitor):
    """One inference. The computation reports to it and learns from it that it was cancelled.

    Args:
        name: the job's id. model: what runs.
        gone: tells whether the client has hung up, which cancels the job; asked at most twice a second.
        owner: the subject of the person who asked; empty if that is not known.
    """

    def __init__(self, name: str, model: str, gone: Callable[[], bool] = lambda: False, owner: str = "") -> None:
        self.name, self.model, self.owner = name, model, owner
        self.state, self.progress = "queued", 0.0
        self._gone, self._asked = gone, 0.0
        self._cancel = threading.Event()
        self._started, self._ended = time.monotonic(), 0.0

    def report(self, **state: Any) -> None:
        """Takes `progress`, 0 to 1."""
        self.progress = float(state.get("progress", self.progress))

    def check(self) -> None:
        """Raises Cancelled if somebody cancelled the job or its client hung up."""
        if time.monotonic() - self._asked > 0.5:
            self._asked = time.monotonic()
            if self._gone():
                self.cancel()
        if self._cancel.is_set():
            raise Cancelled(self.name)

    def cancel(self) -> None:
        """Asks the job to stop at the next point where that is safe."""
        self._cancel.set()

    def finish(self, state: str) -> None:
        """Ends the job as `done`, `cancelled` or `failed`."""
        self.state, self._ended = state, time.monotonic()
        self.progress = 1.0 if state == "done" else self.progress

    def describe(self) -> dict[str, Any]:
        """The job as `GET /jobs/{id}` shows it."""
        seconds = (self._ended or time.monotonic()) - self._started
        state = {"id": self.name, "model": self.model, "state": self.state}
        return {**state, "progress": round(self.progress, 3), "seconds": round(seconds, 2)}


class Jobs:
    """The table of jobs and the queue before the processor.

    Args:
        concurrency: how many compute at once. max_queue: how many more may wait.
    """

    def __init__(self, concurrency: int = 1, max_queue: int = 64) -> None:
        self._free = self._concurrency = concurrency
        self._max_queue = max_queue
        self._waiting: deque[Job] = deque()
        self._table: OrderedDict[str, Job] = OrderedDict()
        self._changed = threading.Condition()

    def counts(self) -> tuple[int, int]:
        """How many wait, and how many compute."""
        with self._changed:
            return len(self._waiting), self._concurrency - self._free

    def busy(self) -> bool:
        """Whether all that can compute does, or somebody waits."""
        with self._changed:
            return bool(self._waiting) or self._free < 1

    def get(self, name: str) -> Job:
        """Raises MedGANError `unknown_job`."""
        with self._changed:
            if name not in self._table:
                raise MedGANError("unknown_job", f"There is no job {name[:64]!r}.")
            return self._table[name]

    @contextmanager
    def run(
        self, model: str, name: str = "", gone: Callable[[], bool] = lambda: False, owner: str = ""
    ) -> Iterator[Job]:
        """Waits for a turn, in order of arrival, then lets the body compute.

        Raises:
            MedGANError: `conflict` if a job of that name is active, `busy` if the queue is full.
            Cancelled: while waiting.
        """
        job = self._enter(Job(name or uuid.uuid4().hex, model, gone, owner))
        try:
            with self._turn(job):
                job.state = "running"
                yield job
                job.check()
            job.finish("done")
        except Cancelled:
            job.finish("cancelled")
            raise
        except BaseException:
            job.finish("failed")
            raise

    def _enter(self, job: Job) -> Job:
        with self._changed:
            earlier = self._table.get(job.name)
            if earlier and earlier.state in ACTIVE:
                raise MedGANError("conflict", f"A job {job.name!r} is already active.", "Choose another job_id.")
            if len(self._waiting) >= self._max_queue:
                message, hint = f"{len(self._waiting)} inferences are waiting.", "Try again in a minute."
                raise MedGANError("busy", message, hint, status=QUEUE_FULL, retry_seconds=RETRY_SECONDS)
            self._table[job.name] = job
            self._table.move_to_end(job.name)
            self._forget_old()
            self._waiting.append(job)
        return job

    def _forget_old(self) -> None:
        finished = [name for name, job in self._table.items() if job.state not in ACTIVE]
        for name in finished[: max(0, len(self._table) - KEPT)]:
            del self._table[name]

    @contextmanager
    def _turn(self, job: Job) -> Iterator[None]:
        self._wait_for_turn(job)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def _wait_for_turn(self, job: Job) -> None:
        while True:
            try:
                job.check()
            except Cancelled:
                self._leave(job)
                raise
            with self._changed:
                if self._free and self._waiting[0] is job:
                    self._waiting.popleft()
                    self._free -= 1
                    self._changed.notify_all()
                    return
                self._changed.wait(POLL)

    def _leave(self, job: Job) -> None:
        with self._changed:
            self._waiting.remove(job)
            self._changed.notify_all()

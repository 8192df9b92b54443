"""Inference jobs: who waits, who computes and where, how far each one is, and how it is cancelled."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from monailabel_app.errors import QUEUE_FULL, RETRY_SECONDS, MedGANError
from trainers.monitor import Cancelled, Monitor

KEPT = 200  # finished jobs that can still be asked about
POLL = 0.2  # seconds between looks at whether a waiting job was cancelled
MOST_CLIENTS = 4096  # whose last turn is remembered
ACTIVE = ("queued", "running")
Client = tuple[str, ...]
"""Who asks: a person or address, perhaps followed by the name that one of several clients there gives itself."""


class Job(Monitor):
    """One inference. The computation reports to it and learns from it that it was cancelled.

    Args:
        name: the job's id. model: what runs.
        gone: tells whether the client has hung up, which cancels the job; asked at most twice a second.
        owner: the subject of the person who asked; empty if that is not known.
        client: who takes turns with others; by default the owner.

    Attributes:
        turn: set when it may compute. device: where it computes from then on.
    """

    def __init__(
        self,
        name: str,
        model: str,
        gone: Callable[[], bool] = lambda: False,
        owner: str = "",
        client: Client = (),
    ) -> None:
        self.name, self.model, self.owner, self.client = name, model, owner, client or (owner,)
        self.state, self.progress = "queued", 0.0
        self.turn, self.device = threading.Event(), ""
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


class Turns:
    """Whose turn it is: clients take turns, however many jobs each has; those of one client go in order of arrival."""

    def __init__(self) -> None:
        self._served: OrderedDict[Client, int] = OrderedDict()
        self._count = 0

    def next(self, waiting: Sequence[Job], computing: Sequence[Job]) -> Job:
        """The job of the client that computes least or, among equals, was served longest ago."""
        return min(waiting, key=lambda job: (_of_same(job, computing), *map(self._last, _levels(job.client))))

    def take(self, client: Client) -> None:
        """Notes that a client is served."""
        self._count += 1
        for level in _levels(client):
            self._served[level] = self._count
            self._served.move_to_end(level)
        while len(self._served) > MOST_CLIENTS:
            self._served.popitem(last=False)

    def _last(self, client: Client) -> int:
        return self._served.get(client, 0)


def _levels(client: Client) -> list[Client]:
    """The person or address first, then one of the clients there: more names do not give an address more turns."""
    return [client[:length] for length in range(1, len(client) + 1)]


def _of_same(job: Job, others: Sequence[Job]) -> int:
    """How many of the others are of the same person or address."""
    return sum(other.client[:1] == job.client[:1] for other in others)


class Jobs:
    """The table of jobs and the queue before the devices.

    Args:
        concurrency: how many compute at once on each device. max_queue: how many more may wait.
        devices: where models compute; the least busy one takes the next job.

    Attributes:
        most: how many compute at once on all devices.
    """

    def __init__(self, concurrency: int = 1, max_queue: int = 64, devices: Sequence[str] = ("cpu",)) -> None:
        self._concurrency, self._max_queue, self._devices = concurrency, max_queue, tuple(devices)
        self.most = concurrency * len(self._devices)
        self._waiting: list[Job] = []
        self._computing: list[Job] = []
        self._turns = Turns()
        self._table: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def counts(self) -> tuple[int, int]:
        """How many wait, and how many compute."""
        with self._lock:
            return len(self._waiting), len(self._computing)

    def busy(self) -> bool:
        """Whether all that can compute does, or somebody waits."""
        with self._lock:
            return bool(self._waiting) or not self._idle_device()

    def get(self, name: str) -> Job:
        """Raises MedGANError `unknown_job`."""
        with self._lock:
            if name not in self._table:
                raise MedGANError("unknown_job", f"There is no job {name[:64]!r}.")
            return self._table[name]

    @contextmanager
    def run(
        self,
        model: str,
        name: str = "",
        gone: Callable[[], bool] = lambda: False,
        owner: str = "",
        client: Client = (),
    ) -> Iterator[Job]:
        """Waits for a turn, then lets the body compute on the job's device.

        Args:
            model: what runs.
            name: the job's id, by default a random one.
            gone: as for `Job`.
            owner: likewise.
            client: likewise.

        Raises:
            MedGANError: `conflict` if a job of that name is active, `busy` if the queue is full.
            Cancelled: while waiting.
        """
        job = self._enter(Job(name or uuid.uuid4().hex, model, gone, owner, client))
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
        with self._lock:
            earlier = self._table.get(job.name)
            if earlier and earlier.state in ACTIVE:
                raise MedGANError("conflict", f"A job {job.name!r} is already active.", "Choose another job_id.")
            self._check_room(job)
            self._table[job.name] = job
            self._table.move_to_end(job.name)
            self._forget_old()
            self._waiting.append(job)
            self._give_turns()
        return job

    def _check_room(self, job: Job) -> None:
        """A client may have as many jobs waiting as there are places left: some are always left for the others."""
        mine, left = _of_same(job, self._waiting), self._max_queue - len(self._waiting)
        if left > 0 and (not mine or mine < left):
            return
        whose = f"{mine} of this client" if left > 0 else "the queue is full"
        message, hint = f"{len(self._waiting)} inferences are waiting, {whose}.", "Try again in a minute."
        raise MedGANError("busy", message, hint, status=QUEUE_FULL, retry_seconds=RETRY_SECONDS)

    def _forget_old(self) -> None:
        finished = [name for name, job in self._table.items() if job.state not in ACTIVE]
        for name in finished[: max(0, len(self._table) - KEPT)]:
            del self._table[name]

    @contextmanager
    def _turn(self, job: Job) -> Iterator[None]:
        try:
            job.check()
            while not job.turn.wait(POLL):
                job.check()
            yield
        finally:
            with self._lock:
                (self._computing if job.turn.is_set() else self._waiting).remove(job)
                self._give_turns()

    def _give_turns(self) -> None:
        while self._waiting and (device := self._idle_device()):
            job = self._turns.next(self._waiting, self._computing)
            self._waiting.remove(job)
            self._computing.append(job)
            self._turns.take(job.client)
            job.device = device
            job.turn.set()

    def _idle_device(self) -> str:
        """The device that computes least; empty if all compute as much as they may."""
        loads = {device: sum(job.device == device for job in self._computing) for device in self._devices}
        device = min(self._devices, key=lambda name: loads[name])
        return device if loads[device] < self._concurrency else ""

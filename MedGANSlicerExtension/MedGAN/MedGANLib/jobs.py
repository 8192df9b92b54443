"""Slow work beside the interface.

Workers see bytes and paths only. What they return, their progress and their errors are delivered on the main thread
by `JobQueue.pump`, which a timer calls in Slicer and a loop calls in a script.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional

from .cancel import CancelToken
from .errors import Cancelled, MedGANError, TimedOut

logger = logging.getLogger(__name__)

Work = Callable[["Job"], Any]
Mailbox = queue.SimpleQueue
"""Holds callables without arguments, to be called on the main thread."""

PUMP_SECONDS = 0.01
"""Pause between two pumps while `JobQueue.wait` waits."""


def ignore(*news: Any) -> None:
    """Listen to nothing."""


def _same(result: Any) -> Any:
    return result


@dataclass(frozen=True)
class Listeners:
    """Who is told about a job, on the main thread; see `JobQueue.submit`."""

    on_done: Callable[[Any], None] = ignore
    on_error: Callable[[MedGANError], None] = ignore
    on_progress: Callable[[float, str], None] = ignore
    finish: Callable[[Any], Any] = _same
    on_news: Callable[[Any], None] = ignore


class Tidy:
    """Work that removes files when it is over, however it ends, and also when it never begins."""

    def __init__(self, files: Iterable[Optional[Path]], work: Work) -> None:
        self._files = tuple(file for file in files if file)
        self._work = work

    def __call__(self, job: Job) -> Any:
        """Do the work, then remove the files."""
        try:
            return self._work(job)
        finally:
            self.drop()

    def drop(self) -> None:
        """Remove the files, also those of the work inside; the work is not done."""
        for file in self._files:
            file.unlink(missing_ok=True)
        if isinstance(self._work, Tidy):
            self._work.drop()


class Job:
    """One piece of work; created by `JobQueue.submit`.

    Attributes:
        title: What it does, for a status line.
        state: `waiting`, `running`, `done`, `failed` or `cancelled`; changes on the main thread, in `pump`.
        progress: Fraction done in 0…1, or -1 when unknown.
        phase: What it does right now.
        result: What the work gave, once `done`.
        error: The exception, once `failed` or `cancelled`.
        token: The cancel token, for the work to hand on.
    """

    def __init__(self, work: Work, mailbox: Mailbox, listeners: Listeners, title: str = "") -> None:
        self.title = title
        self.state = "waiting"
        self.progress = -1.0
        self.phase = ""
        self.result: Any = None
        self.error: Optional[MedGANError] = None
        self.token = CancelToken()
        self._work = work
        self._mailbox = mailbox
        self._listeners = listeners
        self._turn = threading.Lock()  # taken, for good, by whoever decides whether the work runs

    @property
    def finished(self) -> bool:
        """Whether the outcome has been delivered."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self) -> None:
        """Ask the work to stop; `on_error` gets `Cancelled`, at once when no worker has begun with it."""
        self.token.cancel()
        if self._turn.acquire(blocking=False):
            if isinstance(self._work, Tidy):
                self._work.drop()
            self._mailbox.put(lambda: self._failed(Cancelled("Cancelled.")))

    def report(self, fraction: float, phase: str = "") -> None:
        """Tell progress from the worker; delivered by the next `pump`."""
        self._mailbox.put(lambda: self._progressed(fraction, phase))

    def tell(self, news: Any) -> None:
        """Hand on what the worker learns while it goes on; delivered by the next `pump`."""
        self._mailbox.put(lambda: None if self.finished else self._listeners.on_news(news))

    def run(self) -> None:
        """Do the work on the calling thread and post the outcome; nothing when it was cancelled before."""
        if not self._turn.acquire(blocking=False):
            return
        self._mailbox.put(self._started)
        try:
            result = self._work(self)
        except Exception as error:
            failure = as_medgan_error(error)
            self._mailbox.put(lambda: self._failed(failure))
        else:
            self._mailbox.put(lambda: self._finish(result))

    def _started(self) -> None:
        self.state = "running"

    def _progressed(self, fraction: float, phase: str) -> None:
        if self.finished:
            return
        self.progress, self.phase = fraction, phase or self.phase
        self._listeners.on_progress(fraction, self.phase)

    def _finish(self, result: Any) -> None:
        """Do the part of the work that belongs to the main thread, and deliver."""
        try:
            self.result = self._listeners.finish(result)
        except Exception as error:
            self._failed(as_medgan_error(error))
            return
        self.state = "done"
        self._listeners.on_done(self.result)

    def _failed(self, error: MedGANError) -> None:
        self.error = error
        self.state = "cancelled" if isinstance(error, Cancelled) else "failed"
        self._listeners.on_error(error)


class JobQueue:
    """Worker threads and the mailbox through which their news reach the main thread."""

    def __init__(self, workers: int = 3) -> None:
        """Prepare; threads start when there is work."""
        self._limit = workers
        self._threads: List[threading.Thread] = []
        self._own: List[threading.Thread] = []  # each of one job that does not wait for a worker
        self._waiting: queue.SimpleQueue[Optional[Job]] = queue.SimpleQueue()
        self._mailbox: Mailbox = queue.SimpleQueue()
        self._open: List[Job] = []
        self._closed = False

    def submit(
        self,
        work: Work,
        on_done: Callable[[Any], None] = ignore,
        on_error: Callable[[MedGANError], None] = ignore,
        on_progress: Callable[[float, str], None] = ignore,
        title: str = "",
        finish: Callable[[Any], Any] = _same,
        at_once: bool = False,
        on_news: Callable[[Any], None] = ignore,
    ) -> Job:
        """Run `work(job)` on a worker; the outcome is delivered by `pump`.

        Args:
            work: Called on a worker thread; must not touch the scene or the interface.
            on_done: Called with the result, on the main thread.
            on_error: Called with the error, on the main thread; `Cancelled` when it was cancelled.
            on_progress: Called with fraction and phase, on the main thread.
            title: What it does, for a status line.
            finish: The part of the work that belongs to the main thread: gets what `work` returned and returns the
                job's result; when it raises, the job has failed.
            at_once: Whether it gets a thread of its own, because what the user waits for must not wait for workers
                that a silent server holds.
            on_news: Called with what the work hands on by `Job.tell`, on the main thread.
        """
        if self._closed:
            raise RuntimeError("The job queue is closed.")
        job = Job(work, self._mailbox, Listeners(on_done, on_error, on_progress, finish, on_news), title)
        self._open = [other for other in self._open if not other.finished] + [job]
        if at_once:
            self._start_own(job)
        else:
            self._waiting.put(job)
            self._start_worker()
        return job

    def pump(self) -> int:
        """Deliver all news on the calling thread; return how many. A failing callback is logged, never raised."""
        count = 0
        while not self._closed:
            try:
                deliver = self._mailbox.get_nowait()
            except queue.Empty:
                break
            count += 1
            try:
                deliver()
            except Exception:
                logger.exception("A callback failed")
        return count

    def wait(self, job: Job, timeout: float = 600.0) -> Any:
        """Pump until `job` has finished; return its result or raise its error. For scripts and tests, not for widgets.

        Raises:
            TimedOut: It has not finished within `timeout` seconds; it goes on.
        """
        end = time.monotonic() + timeout
        while not job.finished:
            if time.monotonic() > end:
                raise TimedOut(f"'{job.title}' has not finished within {timeout:g} seconds.")
            if not self.pump():
                time.sleep(PUMP_SECONDS)
        if job.error:
            raise job.error
        return job.result

    def close(self, timeout: float = 2.0) -> None:
        """Cancel everything and stop the workers; nothing is delivered afterwards."""
        self._closed = True
        for job in self._open:
            job.cancel()
        for _ in self._threads:
            self._waiting.put(None)
        end = time.monotonic() + timeout
        for thread in [*self._threads, *self._own]:
            thread.join(max(0.0, end - time.monotonic()))

    def _start_worker(self) -> None:
        if len(self._threads) < self._limit:
            thread = threading.Thread(target=self._serve, name="MedGAN worker", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _start_own(self, job: Job) -> None:
        thread = threading.Thread(target=job.run, name="MedGAN worker", daemon=True)
        self._own = [other for other in self._own if other.is_alive()] + [thread]
        thread.start()

    def _serve(self) -> None:
        while (job := self._waiting.get()) is not None:
            job.run()


def as_medgan_error(error: Exception) -> MedGANError:
    """Return a typed error; an unforeseen one is logged with its trace."""
    if isinstance(error, MedGANError):
        return error
    logger.error("Unexpected failure", exc_info=error)
    return MedGANError(f"Unexpected problem: {error}", "The application's log has the details.")

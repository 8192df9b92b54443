"""Slow work beside the interface.

Workers see bytes and paths only. What they return, their progress and their errors are delivered on the main thread
by `JobQueue.pump`, which a timer calls in Slicer and a loop calls in a script.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from .cancel import CancelToken
from .errors import MedGANError

Work = Callable[["Job"], Any]


class Job:
    """One piece of work; created by `JobQueue.submit`.

    Attributes:
        title: What it does, for a status line.
        state: `waiting`, `running`, `done`, `failed` or `cancelled`; changes on the main thread, in `pump`.
        progress: Fraction done in 0…1, or -1 when unknown.
        phase: What it does right now.
        result: What the work returned, once `done`.
        error: The exception, once `failed` or `cancelled`.
        token: The cancel token, for the work to hand on.
    """

    title: str
    state: str
    progress: float
    phase: str
    result: Any
    error: Optional[MedGANError]
    token: CancelToken

    @property
    def finished(self) -> bool:
        """Whether the outcome has been delivered."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Ask the work to stop; `on_error` gets `Cancelled`."""
        raise NotImplementedError

    def report(self, fraction: float, phase: str = "") -> None:
        """Tell progress from the worker; delivered by the next `pump`."""
        raise NotImplementedError


class JobQueue:
    """Worker threads and the mailbox through which their news reach the main thread."""

    def __init__(self, workers: int = 3) -> None:
        """Prepare; threads start when there is work."""
        raise NotImplementedError

    def submit(
        self,
        work: Work,
        on_done: Optional[Callable[[Any], None]] = None,
        on_error: Optional[Callable[[MedGANError], None]] = None,
        on_progress: Optional[Callable[[float, str], None]] = None,
        title: str = "",
    ) -> Job:
        """Run `work(job)` on a worker; call `on_done(result)` or `on_error(error)`, and `on_progress`, in `pump`."""
        raise NotImplementedError

    def pump(self) -> int:
        """Deliver all news on the calling thread; return how many. A failing callback is logged, never raised."""
        raise NotImplementedError

    def wait(self, job: Job, timeout: float = 600.0) -> Any:
        """Pump until `job` has finished; return its result or raise its error. For scripts and tests, not for widgets."""
        raise NotImplementedError

    def close(self, timeout: float = 2.0) -> None:
        """Cancel everything and stop the workers; nothing is delivered afterwards."""
        raise NotImplementedError

"""The part of a workflow that does not know medicine: jobs, the state, and the messages about both."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

from .errors import Busy, Cancelled, ConsentDeclined, MedGANError
from .jobs import Job, JobQueue, Work, as_medgan_error, ignore
from .signals import Signal
from .state import Message, State


class Session:
    """Starts jobs one at a time, keeps `state` true, and says how they ended.

    Attributes:
        state: See `State`.
        changed: Signal, emitted with the state after every change.
        folder: Private folder for files in transit.
    """

    def __init__(self, jobs: Optional[JobQueue] = None, work_dir: Optional[str] = None) -> None:
        self.state = State()
        self.changed = Signal()
        self._jobs = jobs or JobQueue()
        self.folder = Path(work_dir or tempfile.mkdtemp(prefix="medgan-"))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_folder = ignore if work_dir else weakref.finalize(self, shutil.rmtree, self.folder, True)

    def pump(self) -> None:
        """Deliver what the workers have finished; call it from a timer."""
        self._jobs.pump()

    def wait(self, job: Job, timeout: float = 600.0) -> Any:
        """Pump until `job` is finished; return its result or raise its error. For scripts, not for widgets."""
        return self._jobs.wait(job, timeout)

    def cancel(self) -> None:
        """Cancel the job in `state.job`, here and at the server."""
        if self.state.job:
            self.state.job.cancel()

    def close(self) -> None:
        """Cancel everything, stop the workers and remove the files in transit."""
        self._jobs.close()
        self._remove_folder()

    def _update(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self.state, name, value)
        self.changed.emit(self.state)

    def _say(self, kind: str, text: str, hint: str = "", details: Any = ()) -> None:
        once = tuple(dict.fromkeys(details))  # a server may say the same of several places
        self._update(message=Message(kind, text, hint, once))

    def _start(self, title: str, prepare: Callable[[], Work], finish: Callable[[Any], Any]) -> Job:
        """Run a job that the user waits for; only one at a time.

        Args:
            title: What it does, for the status line.
            prepare: Called at once; looks at the scene and returns the work for the worker.
            finish: Called on the main thread with what the work returned; returns the job's result.
        """
        if self.state.job:
            busy = Busy(f"'{self.state.job.title}' is still going on.", "Wait for it, or cancel it.")
            return self._refuse(busy, title)
        try:
            work = prepare()
        except Exception as error:
            return self._refuse(as_medgan_error(error), title)
        job = self._jobs.submit(
            work,
            lambda result: self._ended(job),
            lambda error: self._failed(job, error),
            lambda fraction, phrase: self.changed.emit(self.state),
            title,
            lambda result: finish(self._still_meant(job, result)),
            at_once=True,
        )
        self._update(job=job)
        return job

    def _still_meant(self, job: Job, result: Any) -> Any:
        """Return a result, unless another job has taken the place of the one that gave it; raises `Cancelled`."""
        if self.state.job is not job:
            for path in _paths(result):
                if path.parent == self.folder:
                    path.unlink(missing_ok=True)
            raise Cancelled("Cancelled.")
        return result

    def _give_up(self) -> None:
        """Cancel the job that the user waits for, and make room for another one; what comes of it is not heard."""
        job, self.state.job = self.state.job, None
        if job:
            job.cancel()

    def _refuse(self, error: MedGANError, title: str) -> Job:
        """Return a job that fails with `error`; what is going on is not disturbed."""

        def fail(job: Job) -> Any:
            raise error

        return self._jobs.submit(fail, on_error=self._tell, title=title, at_once=True)

    def _ended(self, job: Job) -> None:
        if self.state.job is job:
            self._update(job=None)

    def _failed(self, job: Job, error: MedGANError) -> None:
        if self.state.job is job:
            self.state.job = None
            self._tell(error)

    def _tell(self, error: MedGANError) -> None:
        harmless = isinstance(error, (Cancelled, ConsentDeclined)) or error.code == "nothing_to_label"
        reference = f" (reference {error.id})" if error.id and not harmless else ""
        self._say("info" if harmless else "error", error.message + reference, error.hint)


def _paths(result: Any) -> Iterator[Path]:
    """Yield the files that a worker has returned: alone, in a tuple, or as the parts of a model's result."""
    if isinstance(result, Path):
        yield result
        return
    for entry in result if isinstance(result, tuple) else getattr(result, "parts", ()):
        yield from _paths(getattr(entry, "path", entry))

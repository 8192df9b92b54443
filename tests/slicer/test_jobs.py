"""The job queue: workers work, the main thread hears of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from MedGANLib.cancel import CancelToken
from MedGANLib.errors import Cancelled, MedGANError, NotFound, TimedOut
from MedGANLib.jobs import Job, JobQueue
from MedGANLib.signals import Signal


@pytest.fixture
def jobs() -> Iterator[JobQueue]:
    queue = JobQueue(2)
    yield queue
    queue.close()


def test_work_runs_elsewhere_and_news_arrive_here(jobs: JobQueue) -> None:
    threads: dict[str, int] = {}
    progress: list[tuple[float, str]] = []

    def work(job: Job) -> int:
        threads["work"] = threading.get_ident()
        job.report(0.5, "half")
        return 42

    def finish(result: int) -> int:
        threads["finish"] = threading.get_ident()
        return result + 1

    done: list[int] = []
    job = jobs.submit(work, done.append, on_progress=lambda f, p: progress.append((f, p)), finish=finish, title="Sum")
    time.sleep(0.1)
    assert not done and job.state == "waiting", "nothing arrives before it is pumped"
    assert jobs.wait(job, 5) == 43
    assert (done, progress, job.state) == ([43], [(0.5, "half")], "done")
    assert threads["finish"] == threading.get_ident() != threads["work"]


def test_errors_are_delivered_typed(jobs: JobQueue) -> None:
    seen: list[MedGANError] = []

    def fail(job: Job) -> None:
        raise NotFound("No such study.")

    job = jobs.submit(fail, on_error=seen.append)
    with pytest.raises(NotFound):
        jobs.wait(job, 5)
    assert job.state == "failed" and seen == [job.error]


def test_unforeseen_errors_become_typed_ones(jobs: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    job = jobs.submit(lambda job: 1 // 0)
    with pytest.raises(MedGANError, match="Unexpected"):
        jobs.wait(job, 5)
    assert "ZeroDivisionError" in caplog.text


def test_a_failing_last_step_fails_the_job(jobs: JobQueue) -> None:
    def finish(result: Any) -> None:
        raise NotFound("The volume is gone.")

    job = jobs.submit(lambda job: 1, finish=finish)
    with pytest.raises(NotFound):
        jobs.wait(job, 5)
    assert job.result is None


@pytest.mark.parametrize("which", ["on_done", "on_progress"])
def test_a_failing_callback_does_not_stop_the_pump(
    jobs: JobQueue, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    def work(job: Job) -> str:
        job.report(0.1)
        return "fine"

    def broken(*news: Any) -> None:
        raise RuntimeError("a widget was deleted")

    first = jobs.submit(work, **{which: broken})
    assert jobs.wait(first, 5) == "fine"
    assert jobs.wait(jobs.submit(work), 5) == "fine"
    assert "a widget was deleted" in caplog.text


def test_cancel_while_running(jobs: JobQueue) -> None:
    started = threading.Event()

    def work(job: Job) -> None:
        started.set()
        job.token.wait(20)
        job.token.raise_if_cancelled()

    job = jobs.submit(work)
    assert started.wait(5)
    job.cancel()
    with pytest.raises(Cancelled):
        jobs.wait(job, 1)
    assert job.state == "cancelled"


def test_cancel_while_waiting_for_a_worker(jobs: JobQueue) -> None:
    gate = threading.Event()
    busy = [jobs.submit(lambda job: gate.wait(20)) for _ in range(2)]
    ran: list[bool] = []
    job = jobs.submit(lambda job: ran.append(True))
    job.cancel()
    with pytest.raises(Cancelled):
        jobs.wait(job, 1)  # although no worker is free
    gate.set()
    assert not ran and all(jobs.wait(other, 5) for other in busy)


def test_work_that_came_through_before_the_cancel_is_not_called_cancelled(jobs: JobQueue) -> None:
    """A label that the server has stored stays stored, whatever was pressed meanwhile."""
    job = jobs.submit(lambda job: "stored")
    time.sleep(0.1)
    job.cancel()
    assert jobs.wait(job, 5) == "stored"


def test_progress_after_the_end_is_ignored(jobs: JobQueue) -> None:
    job = jobs.submit(lambda job: 1)
    jobs.wait(job, 5)
    job.report(0.5, "late")
    jobs.pump()
    assert job.phase == ""


def test_waiting_has_an_end(jobs: JobQueue) -> None:
    job = jobs.submit(lambda job: job.token.wait(20), title="Sleeping")
    with pytest.raises(TimedOut, match="Sleeping"):
        jobs.wait(job, 0.1)


def test_close_cancels_and_ends_the_workers() -> None:
    jobs = JobQueue()
    heard: list[Any] = []
    job = jobs.submit(lambda job: job.token.wait(20), heard.append)
    time.sleep(0.05)
    jobs.close()
    assert job.token.cancelled and jobs.pump() == 0 and not heard
    assert not [t for t in threading.enumerate() if t.name == "MedGAN worker" and t in jobs._threads]
    with pytest.raises(RuntimeError):
        jobs.submit(lambda job: 1)


def test_many_jobs_from_a_callback(jobs: JobQueue) -> None:
    """A callback may start the next job, as the interface does."""
    order: list[int] = []

    def next_one(result: int) -> None:
        order.append(result)
        if result < 5:
            jobs.submit(lambda job: result + 1, next_one)

    jobs.submit(lambda job: 0, next_one)
    end = time.monotonic() + 5
    while len(order) < 6 and time.monotonic() < end:
        jobs.pump()
        time.sleep(0.002)
    assert order == [0, 1, 2, 3, 4, 5]


def test_token_calls_back_once_and_forgets() -> None:
    token, calls = CancelToken(), []
    token.on_cancel(lambda: calls.append("kept"))
    forget = token.on_cancel(lambda: calls.append("forgotten"))
    forget()
    token.cancel()
    token.cancel()
    token.on_cancel(lambda: calls.append("late"))
    assert calls == ["kept", "late"]


def test_signal_goes_on_after_a_failing_listener(caplog: pytest.LogCaptureFixture) -> None:
    signal, heard = Signal(), []

    def broken(value: int) -> None:
        raise RuntimeError("broken listener")

    signal.connect(broken)
    signal.connect(heard.append)
    signal.connect(heard.append)
    signal.emit(1)
    signal.disconnect(heard.append)
    signal.emit(2)
    assert heard == [1] and "broken listener" in caplog.text

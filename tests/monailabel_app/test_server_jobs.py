"""The queue before the processor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from monailabel_app.errors import MedGANError
from monailabel_app.jobs import Jobs
from trainers.monitor import Cancelled


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_one_at_a_time_in_order_of_arrival() -> None:
    jobs, order, inside, most = Jobs(1), [], 0, 0

    def work(name: str) -> None:
        nonlocal inside, most
        with jobs.run("m", name):
            inside += 1
            most = max(most, inside)
            order.append(name)
            time.sleep(0.02)
            inside -= 1

    threads = []
    for name in "abcdef":
        threads.append(in_thread(lambda name=name: work(name)))
        time.sleep(0.005)
    for thread in threads:
        thread.join(5)
    assert (order, most) == (list("abcdef"), 1)
    assert {jobs.get(name).state for name in "abcdef"} == {"done"}


def test_concurrency_is_a_setting() -> None:
    jobs, barrier = Jobs(3), threading.Barrier(3, timeout=5)

    def work() -> None:
        with jobs.run("m"):
            barrier.wait()

    threads = [in_thread(work) for _ in range(3)]
    for thread in threads:
        thread.join(5)
    assert not barrier.broken


def test_a_waiting_job_can_be_cancelled_and_the_rest_go_on() -> None:
    jobs, release, outcome = Jobs(1), threading.Event(), []

    def first() -> None:
        with jobs.run("m", "first"):
            release.wait(5)

    def second() -> None:
        try:
            with jobs.run("m", "second"):
                outcome.append("ran")
        except Cancelled:
            outcome.append("cancelled")

    holder = in_thread(first)
    wait_for(lambda: "first" in jobs._table and jobs.get("first").state == "running")
    waiter = in_thread(second)
    wait_for(lambda: "second" in jobs._table)
    jobs.get("second").cancel()
    waiter.join(5)
    assert outcome == ["cancelled"]
    assert jobs.get("second").describe()["state"] == "cancelled"
    release.set()
    holder.join(5)
    with jobs.run("m", "third"):
        pass
    assert jobs.get("third").state == "done"


def test_a_running_job_stops_at_its_next_check() -> None:
    jobs = Jobs(1)
    with pytest.raises(Cancelled), jobs.run("m", "a") as job:
        job.report(progress=0.4)
        job.cancel()
        job.check()
    assert jobs.get("a").describe() | {"seconds": 0} == {
        "id": "a", "model": "m", "state": "cancelled", "progress": 0.4, "seconds": 0
    }  # fmt: skip


def test_a_client_that_hung_up_cancels_its_job() -> None:
    jobs = Jobs(1)
    with pytest.raises(Cancelled), jobs.run("m", "a", gone=lambda: True):
        raise AssertionError("must not run")


def test_failure_frees_the_place() -> None:
    jobs = Jobs(1)
    with pytest.raises(ZeroDivisionError), jobs.run("m", "a"):
        raise ZeroDivisionError
    assert jobs.get("a").state == "failed"
    with jobs.run("m", "a"):
        pass


def test_a_name_in_use_and_a_full_queue_are_refused() -> None:
    jobs = Jobs(1, max_queue=1)
    with jobs.run("m", "a"):
        with pytest.raises(MedGANError) as caught, jobs.run("m", "a"):
            pass
        assert caught.value.code == "conflict"
        waiter = in_thread(lambda: jobs.run("m", "b").__enter__())
        wait_for(lambda: "b" in jobs._table)
        with pytest.raises(MedGANError) as caught, jobs.run("m", "c"):
            pass
        assert (caught.value.code, caught.value.status_code) == ("busy", 503)
        assert caught.value.headers == {"Retry-After": "60"}
    waiter.join(5)


def test_unknown_job() -> None:
    with pytest.raises(MedGANError) as caught:
        Jobs().get("x")
    assert caught.value.code == "unknown_job"

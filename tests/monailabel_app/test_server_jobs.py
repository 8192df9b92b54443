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


def ask(jobs: Jobs, order: list[str], release: threading.Event, name: str, *client: str) -> threading.Thread:
    """A job that notes its name when its turn comes, and ends at once if it is released."""

    def work() -> None:
        with jobs.run("m", name, client=client):
            order.append(name)
            release.wait(5)

    thread = in_thread(work)
    wait_for(lambda: name in jobs._table and (jobs.get(name).turn.is_set() or jobs.get(name) in jobs._waiting))
    return thread


def order_of_turns(*asked: tuple[str, ...], concurrency: int = 1) -> list[str]:
    """The order in which jobs have their turns that were asked for one after the other: name, address, client."""
    jobs, order, release = Jobs(concurrency), [], threading.Event()
    threads = [ask(jobs, order, release, name, *client) for name, *client in asked]
    release.set()
    for thread in threads:
        thread.join(5)
    return order


def test_one_request_is_not_behind_the_fifteen_of_another_client() -> None:
    many = [(f"many {n}", "10.0.0.1") for n in range(15)]
    order = order_of_turns(*many, ("one", "10.0.0.2"))
    assert order[:2] == ["many 0", "one"]
    assert order[2:] == [name for name, _ in many[1:]]


def test_clients_take_turns_and_more_names_give_an_address_no_more_of_them() -> None:
    crowd = [(f"a{n}", "10.0.0.1", f"client {n}") for n in range(4)]
    calm = [(f"b{n}", "10.0.0.2", "client") for n in range(3)]
    assert order_of_turns(*crowd, *calm) == ["a0", "b0", "a1", "b1", "a2", "b2", "a3"]


def test_clients_of_one_address_take_turns_too() -> None:
    many = [(f"a{n}", "proxy", "first") for n in range(3)]
    assert order_of_turns(*many, ("b0", "proxy", "second")) == ["a0", "b0", "a1", "a2"]


def test_a_client_that_computes_already_is_behind_one_that_does_not() -> None:
    jobs, order, never, release = Jobs(2), [], threading.Event(), threading.Event()
    slow = [ask(jobs, order, never, "slow 0", "slow"), ask(jobs, order, release, "quick 0", "quick")]
    slow += [ask(jobs, order, never, "slow 1", "slow"), ask(jobs, order, never, "quick 1", "quick")]
    release.set()
    wait_for(lambda: len(order) == 3)
    assert order == ["slow 0", "quick 0", "quick 1"], "two turns of the slow one would take all that computes"
    never.set()
    for thread in slow:
        thread.join(5)


def test_a_client_leaves_places_in_the_queue_to_the_others() -> None:
    jobs, order, release = Jobs(1, max_queue=8), [], threading.Event()
    threads = [ask(jobs, order, release, f"a{n}", "greedy") for n in range(5)]
    with pytest.raises(MedGANError) as caught, jobs.run("m", client=("greedy", "another name")):
        pass
    assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "60"})
    threads += [ask(jobs, order, release, f"b{n}", "other") for n in range(2)]
    assert jobs.counts() == (6, 1)
    release.set()
    for thread in threads:
        thread.join(5)


def test_jobs_go_to_the_device_that_is_least_busy() -> None:
    jobs, order, release = Jobs(2, devices=("cuda:0", "cuda:1")), [], threading.Event()
    threads = [ask(jobs, order, release, str(n), f"client {n}") for n in range(5)]
    devices = [jobs.get(str(n)).device for n in range(5)]
    assert devices == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", ""], "the last one waits: all compute two"
    release.set()
    for thread in threads:
        thread.join(5)
    assert not jobs.busy() and jobs.counts() == (0, 0)


def test_unknown_job() -> None:
    with pytest.raises(MedGANError) as caught:
        Jobs().get("x")
    assert caught.value.code == "unknown_job"

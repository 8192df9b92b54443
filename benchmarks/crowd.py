"""Many users: a crowd that infers on real volumes while a training runs, and one client beside a greedy one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from demo.server import running_server
from trainers.data.cases import find_cases

MODEL = "hippocampus_segmentation"
CROWD, GREEDY, LABELLED, STUDIES = 16, 15, 10, 12
PLACES, ASKED = 40, 30  # in the queue, of which one address may take half; requests at once
PAUSE = 0.1  # seconds between questions
LEAST = 40  # questions
TIMEOUT = 600.0
Row = dict[str, Any]


def measure(data: Path, out: Path) -> list[Row]:
    """Rows of what was measured, in `value` and `unit`.

    Args:
        data: real patients, `images/` and `labels/`.
        out: folder for the studies and the server's log.
    """
    cases = find_cases(data)[:STUDIES]
    studies = out / "crowd" / f"{time.time_ns()}"
    studies.mkdir(parents=True)
    for case in cases:
        (studies / case.image.name).symlink_to(case.image.resolve())
    options = ("--max-queue", str(PLACES), "--rate-limit", "0")
    with running_server(studies, studies.with_suffix(".log"), *options) as url, _client(url) as client:
        for case in cases[:LABELLED]:
            with case.label.open("rb") as stream:
                query = {"image": case.id, "tag": "final"}
                client.put(
                    "/datastore/label", params=query, files={"label": (case.label.name, stream)}
                ).raise_for_status()
        names = [case.id for case in cases]
        rows = [*_questions("on an idle server", client), *_crowd(url, client, names)]
        rows += [*_fairness(url, client, names[0]), *_refusals(url, names[0]), *_leaving(url, client, names[0])]
    return rows


def _crowd(url: str, client: httpx.Client, names: list[str]) -> Iterator[Row]:
    """16 clients, each with its own name, infer without a pause while a run goes on."""
    client.post(f"/train/{MODEL}", json={}).raise_for_status()
    end = threading.Event()
    with _several(CROWD, lambda number: _keep_asking(url, names[number % len(names)], f"user {number}", end)) as work:
        yield from _questions(f"while {CROWD} clients infer and a run goes on", client)
        running = client.get("/train/").json()["status"]
        end.set()
    counts = [one.result() for one in work]
    yield _row("the run at the end of that", running, "")
    yield _row("inferences of a client, least and most", f"{min(counts)} to {max(counts)}", "")
    client.delete("/train/")


def _keep_asking(url: str, study: str, name: str, end: threading.Event) -> int:
    done = 0
    with _client(url) as client:
        while not end.is_set():
            served = _infer(client, study, name).status_code == 200
            done += served
            end.wait(0 if served else PAUSE)
    return done


def _fairness(url: str, client: httpx.Client, study: str) -> Iterator[Row]:
    """One request of a client behind 15 of another one: how many of those 15 are done before it."""
    ended: list[str] = []

    def ask(number: int) -> None:
        with _client(url) as one:
            _infer(one, study, "greedy")
        ended.append("greedy")

    with _several(GREEDY, ask):
        _wait(lambda: _waiting(client) == GREEDY - 1)
        _infer(client, study, "one")
        before = len(ended)
    yield _row(f"of {GREEDY} requests of another client, answered before the one that came last", before, "")


def _refusals(url: str, study: str) -> Iterator[Row]:
    """More at once, from one address, than it may have waiting."""
    with _several(ASKED, lambda number: _infer_once(url, study, f"user {number}")) as work:
        answers = [one.result() for one in work]
    refused = [answer for answer in answers if answer.status_code == 503]
    told = sum("retry-after" in answer.headers for answer in refused)
    yield _row(f"of {len(answers)} at once with {PLACES} places: done", len(answers) - len(refused), "")
    yield _row("refused with 503, of these with Retry-After", f"{len(refused)}, {told}", "")


def _leaving(url: str, client: httpx.Client, study: str) -> Iterator[Row]:
    """A client that hangs up while it waits: until its place is free."""
    with _several(2, lambda number: _infer_once(url, study, f"user {number}")):
        _wait(lambda: _waiting(client) == 1)
        try:
            httpx.post(
                f"{url}/infer/{MODEL}", params={"image": study}, data={"params": '{"job_id": "left"}'}, timeout=0.3
            )
        except httpx.TimeoutException:
            begun = time.perf_counter()
            _wait(lambda: client.get("/jobs/left").json().get("state") == "cancelled")
            yield _row("from hanging up until the job is cancelled", time.perf_counter() - begun, "s")


def _questions(when: str, client: httpx.Client) -> Iterator[Row]:
    times = []
    for _ in range(LEAST):
        begun = time.perf_counter()
        client.get("/info/").raise_for_status()
        times.append(1000 * (time.perf_counter() - begun))
        time.sleep(PAUSE)
    yield _row(f"/info/ {when}, median", float(np.median(times)), "ms")
    yield _row(f"/info/ {when}, slowest of {LEAST}", max(times), "ms")


def _infer(client: httpx.Client, study: str, name: str) -> httpx.Response:
    query = {"image": study, "output": "json"}
    return client.post(f"/infer/{MODEL}", params=query, data={"params": f'{{"client_id": "{name}"}}'})


def _infer_once(url: str, study: str, name: str) -> httpx.Response:
    with _client(url) as client:
        return _infer(client, study, name)


def _waiting(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("medgan_inference_waiting "))


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The server did not come to the state that is measured.")
        time.sleep(0.02)


@contextmanager
def _several(count: int, work: Callable[[int], Any]) -> Iterator[list[Any]]:
    """Threads at work while the body runs; it may wait for what they return."""
    with ThreadPoolExecutor(count) as pool:
        yield [pool.submit(work, number) for number in range(count)]


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=TIMEOUT)


def _row(what: str, value: Any, unit: str) -> Row:
    return {"what": what, "value": round(value, 3) if isinstance(value, float) else value, "unit": unit}

"""Synthesis jobs: progress, cancelling, queueing; with a model that takes its time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_world import PICTURES, client_of, error, infer, make_synthesis

from monailabel_app.config import ServerConfig
from monailabel_app.infers.synthesis import SynthesisInfer
from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.synthesis import Synthetic


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small models."""
    return make_synthesis(tmp_path_factory.mktemp("generators"))


def config(generators: Path, folder: Path, concurrency: int = 1) -> ServerConfig:
    (folder / "studies").mkdir()
    return ServerConfig(folder / "studies", folder / "data", models=generators, concurrency=concurrency)


class Slow:
    """A model that makes nothing for a while, and notes how many of it do so at once."""

    running = most = 0
    lock = threading.Lock()
    seconds = 0.2

    def __init__(self, folder: Path, device: str) -> None:
        self.spec = ModelSpec.load(folder)

    def __call__(self, number: int = 1, seed: int = 0, monitor: Monitor = Monitor(), **_: Any) -> list[Synthetic]:
        with Slow.lock:
            Slow.running += 1
            Slow.most = max(Slow.most, Slow.running)
        try:
            end = time.monotonic() + Slow.seconds
            while (left := end - time.monotonic()) > 0:
                monitor.check()
                monitor.report(progress=1 - left / Slow.seconds)
                time.sleep(0.01)
        finally:
            with Slow.lock:
                Slow.running -= 1
        return [Synthetic(Volume(np.zeros((4, 4, 1), np.uint8), np.eye(4)), None, seed, None)]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[Slow]:
    monkeypatch.setattr(SynthesisInfer, "load", Slow)
    Slow.most = 0
    return Slow


def test_progress_is_told_and_a_running_and_a_waiting_job_can_be_cancelled(
    generators: Path, tmp_path: Path, slow: type[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "seconds", 30.0)
    client = client_of(config(generators, tmp_path))

    def state(job: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/jobs/{job}").json()
        return found

    def wait(job: str, wanted: str) -> None:
        end = time.monotonic() + 10
        while state(job).get("state") != wanted:
            assert time.monotonic() < end, state(job)
            time.sleep(0.02)

    with ThreadPoolExecutor(2) as pool:
        runs = pool.submit(infer, client, PICTURES, job_id="runs")
        wait("runs", "running")
        waits = pool.submit(infer, client, PICTURES, job_id="waits")
        wait("waits", "queued")
        time.sleep(0.1)
        assert 0 < state("runs")["progress"] < 1
        start = time.monotonic()
        for job in ("waits", "runs"):
            assert client.delete(f"/jobs/{job}").status_code == 200
        assert [error(future.result(10)) for future in (runs, waits)] == [(409, "cancelled")] * 2
        assert time.monotonic() - start < 3
    assert slow.most == 1 and state("runs")["state"] == "cancelled"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_no_more_compute_at_once_than_the_server_allows(
    generators: Path, tmp_path: Path, slow: type[Slow], concurrency: int
) -> None:
    client = client_of(config(generators, tmp_path, concurrency))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(infer, client, PICTURES, {"output": "json"}) for _ in range(4)]
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert slow.most == concurrency

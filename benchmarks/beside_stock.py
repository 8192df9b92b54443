"""The same network on the same volume behind stock MONAI Label and behind this server, asked in turn.

The clock runs from the client's call until the result is a complete file on the client's disk, each by its own client.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from monailabel.client import MONAILabelClient

from benchmarks.stock_world import STUDY, make_models, make_study
from demo.server import server_process
from trainers.data.volumes import read_volume

ROUNDS = 3  # the first of each is told apart
SAMPLE_SECONDS = 0.02
START_SECONDS = 120.0
MIB = 2**20
OFFLINE = {"MONAI_LABEL_TRACKING_ENABLED": "false", "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
LEAST_DICE, MOST_HU = 0.95, 0.5  # between both servers' results, or they did not do the same


@dataclass(frozen=True)
class Task:
    """What is asked for: a model, and the format and number type of its result."""

    model: str
    extension: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.model}, {self.extension}"


TASKS = (Task("label", ".nii.gz", "uint8"), Task("image", ".nii.gz", "float32"), Task("image", ".nrrd", "float32"))


@dataclass
class Side:
    """One server: how it is asked, its process, and what was measured by task."""

    name: str
    ask: Callable[[Task], Path]
    process: psutil.Process
    seconds: dict[Task, list[float]] = field(default_factory=dict)
    cpu: dict[Task, list[float]] = field(default_factory=dict)
    peak: dict[Task, float] = field(default_factory=dict)

    def measure(self, task: Task) -> Path:
        """Asks once; returns the result's file."""
        with _peak_memory(self.process) as peak:
            started, worked = time.perf_counter(), _cpu_seconds(self.process)
            path = self.ask(task)
            self.seconds.setdefault(task, []).append(time.perf_counter() - started)
            self.cpu.setdefault(task, []).append(_cpu_seconds(self.process) - worked)
        self.peak[task] = max(self.peak.get(task, 0.0), peak[0])
        return path


def measure(out: Path) -> list[dict[str, Any]]:
    """A row for each task: seconds of the first and the median of later requests, and the servers' peak memory.

    The label is of a UNet at 2 mm, uint8; the image of three convolutions of each slice, float32. The servers' CPU time
    is told beside the clock's, because other programs hardly change it.
    """
    shutil.rmtree(out, ignore_errors=True)
    make_models(out / "models")
    study = make_study(out / "studies")
    for name in ("stock", "ours"):
        (out / name / "studies").mkdir(parents=True)
        shutil.copy(study, out / name / "studies" / study.name)
    with _stock(out) as stock, _ours(out) as ours:
        for number in range(ROUNDS):
            for task in TASKS:
                turn = (stock, ours) if number % 2 == 0 else (ours, stock)
                files = {side.name: side.measure(task) for side in turn}
                if number == 0:
                    _check_same(task, files)
                for file in files.values():
                    file.unlink()
        return [_row(task, stock, ours) for task in TASKS]


def _row(task: Task, stock: Side, ours: Side) -> dict[str, Any]:
    later = {side.name: float(np.median(side.seconds[task][1:])) for side in (stock, ours)}
    worked = {side.name: float(np.median(side.cpu[task][1:])) for side in (stock, ours)}
    return {
        "what": str(task),
        "stock s": later["stock"],
        "ours s": later["ours"],
        "times faster": later["stock"] / later["ours"],
        "stock CPU s": worked["stock"],
        "ours CPU s": worked["ours"],
        "stock first s": stock.seconds[task][0],
        "ours first s": ours.seconds[task][0],
        "stock MiB": round(stock.peak[task]),
        "ours MiB": round(ours.peak[task]),
    }


def _check_same(task: Task, files: dict[str, Path]) -> None:
    """Raises ValueError if the servers did not make the same of the study."""
    stock, ours = (read_volume(files[name]) for name in ("stock", "ours"))
    if stock.array.dtype != task.dtype or ours.array.dtype != task.dtype:
        raise ValueError(f"{task}: the results are {stock.array.dtype} and {ours.array.dtype}")
    if task.model == "label":
        a, b = stock.array > 0, ours.array > 0
        dice = 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))
        if dice < LEAST_DICE:
            raise ValueError(f"{task}: the results agree by a Dice of {dice:.3f} only")
    elif (apart := float(np.abs(stock.array - ours.array).max())) > MOST_HU:
        raise ValueError(f"{task}: the results are {apart:.3g} HU apart")


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


@contextmanager
def _peak_memory(process: psutil.Process) -> Iterator[list[float]]:
    """The most memory, MiB, that a process and its children had in RAM during the block."""
    peak, done = [0.0], threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            tree = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(p.memory_info().rss for p in tree) / MIB)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


@contextmanager
def _ours(out: Path) -> Iterator[Side]:
    from benchmarks.clinic import MedGANClient

    options = ("--models", str(out / "models"), "--no-background-scoring")
    with server_process(out / "ours" / "studies", out / "ours.log", *options) as (url, process):
        client = MedGANClient(url, cache_dir=out / "ours" / "cache")

        def ask(task: Task) -> Path:
            options = {"test_time_augmentation": False}
            folder = out / "ours" / "answers"
            return client.infer(
                task.model, folder, image_id=STUDY, options=options, result_extension=task.extension
            ).parts[0].path  # fmt: skip

        yield Side("ours", ask, psutil.Process(process.pid))


@contextmanager
def _stock(out: Path) -> Iterator[Side]:
    url, process = _start_stock(out)
    try:
        _wait(f"{url}/info/", process, out / "stock.log")
        answers = out / "stock" / "answers"
        answers.mkdir()
        client = MONAILabelClient(url, tmpdir=str(answers))

        def ask(task: Task) -> Path:
            params = {"result_extension": task.extension, "result_dtype": task.dtype}
            return Path(client.infer(task.model, STUDY, params)[0])

        yield Side("stock", ask, psutil.Process(process.pid))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)


def _start_stock(out: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """Stock MONAI Label's own start with the app beside this file."""
    from demo.server import ROOT, _free_port

    port, app = _free_port(), shutil.copytree(Path(__file__).parent / "stock_app", out / "stock" / "app")
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--studies", str(out / "stock" / "studies")]
    command += ["--conf", "models", str((out / "models").resolve())]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (out / "stock.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **OFFLINE, "PYTHONPATH": paths},
        )  # fmt: skip
    return f"http://127.0.0.1:{port}", process


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"Stock MONAI Label did not start; see {log}.")

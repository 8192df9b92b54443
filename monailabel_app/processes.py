"""Background work in processes of their own, by MONAI Label's means: one at a time for each kind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import processes
from monailabel.utils.async_tasks.utils import tasks as all_tasks

from monailabel_app.devices import AUTO, visible_gpus
from monailabel_app.errors import MedGANError

Task = dict[str, Any]
ACTIVE = ("SUBMITTED", "RUNNING")
KINDS = {"train": "A training run", "scoring": "A scoring", "batch_infer": "A batch"}
BEGIN_SECONDS = 5.0
SERVER = "server"  # in a request: the process that started it
_starting = threading.Lock()


def start(method: str, request: dict[str, Any]) -> Task:
    """Starts a task, which is told who its server is. Raises MedGANError `busy` while one of its kind is active."""
    with _starting:
        if active(method):
            raise MedGANError("busy", f"{KINDS[method]} is going on.", "Wait until it ends, or stop it.")
        task: Task
        task, _ = AsyncTask.run(method, request={**request, SERVER: os.getpid()}, enqueue=True)
    return task


def active(method: str) -> Task | None:
    """The task of a kind that waits or runs."""
    return next((task for task in all_tasks(method) if task["status"] in ACTIVE), None)


def tasks(method: str) -> list[Task]:
    """All tasks of a kind since the server was started, oldest first."""
    return list(all_tasks(method))


def kill(method: str, task: Task) -> None:
    """Ends a task's process and waits until it is gone; one that is just being started is waited for."""
    end = time.monotonic() + BEGIN_SECONDS
    while task["status"] == "SUBMITTED" and task["id"] not in processes(method) and time.monotonic() < end:
        time.sleep(0.05)
    process = processes(method).get(task["id"])
    if process:
        AsyncTask.stop(method)
        process.wait(BEGIN_SECONDS)


class Training:
    """The process that trains.

    Args:
        trainers: by model. device: where they compute; the process sees no other GPU.
    """

    def __init__(self, trainers: Mapping[str, Any], device: str = AUTO) -> None:
        self._trainers, self._gpus = trainers, visible_gpus(device)

    def start(self, request: dict[str, Any]) -> None:
        """Starts it. Raises MedGANError `unknown_trainer`, e.g. for a run of an earlier server with more models."""
        if request["model"] not in self._trainers:
            raise MedGANError("unknown_trainer", f"There is no trainer {request['model']!r} any more.")
        start("train", {**request, "gpus": self._gpus})

    def run(self) -> str | None:
        """The run that it works on; None if there is no such process."""
        task = active("train")
        return str(task["request"]["run"]) if task else None

    def kill(self) -> None:
        """Ends it and waits until it is gone."""
        task = active("train")
        if task:
            kill("train", task)

"""MONAI Label's background tasks: one process for each, one at a time for each kind."""

from __future__ import annotations

import threading
import time
from typing import Any

from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import processes
from monailabel.utils.async_tasks.utils import tasks as all_tasks

from monailabel_app.errors import MedGANError
from monailabel_app.logs import blank
from monailabel_app.services import Services

ACTIVE = ("SUBMITTED", "RUNNING")
SHOWN = ("id", "status", "request", "start_ts", "end_ts")
BEGIN_SECONDS = 5.0
_starting = threading.Lock()


def start(s: Services, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Starts a task. Raises MedGANError `busy` while one of its kind is active."""
    with _starting:
        if active(method):
            kind = {"train": "A training run", "scoring": "A scoring", "batch_infer": "A batch"}[method]
            raise MedGANError("busy", f"{kind} is going on.", "Wait until it ends, or stop it.")
        task, _ = AsyncTask.run(method, request=request, enqueue=True)
    return show(s, task)


def active(method: str) -> dict[str, Any] | None:
    """The task of a kind that waits or runs."""
    return next((task for task in all_tasks(method) if task["status"] in ACTIVE), None)


def status(s: Services, method: str, check_if_running: bool, code: str) -> dict[str, Any]:
    """The last task of a kind. Raises MedGANError `code` if there is none, or none that runs when that is asked."""
    found = active(method) if check_if_running else next(reversed(all_tasks(method)), None)
    if found is None:
        raise MedGANError(code, "None is running." if check_if_running else "None was started.")
    return show(s, found)


def stop(s: Services, method: str, code: str) -> dict[str, Any]:
    """Ends the task that is active. Raises MedGANError `code` if there is none."""
    task = active(method)
    if task is None:
        raise MedGANError(code, "None is running.")
    kill(method, task)
    return show(s, task)


def kill(method: str, task: dict[str, Any]) -> None:
    """Ends a task's process and waits until it is gone; one that is just being started is waited for."""
    end = time.monotonic() + BEGIN_SECONDS
    while task["status"] == "SUBMITTED" and task["id"] not in processes(method) and time.monotonic() < end:
        time.sleep(0.05)
    process = processes(method).get(task["id"])
    if process:
        AsyncTask.stop(method)
        process.wait(BEGIN_SECONDS)


def show(s: Services, task: dict[str, Any]) -> dict[str, Any]:
    """A task for clients: what MONAI Label tells of it, with paths and studies blanked."""
    shown = {key: task[key] for key in SHOWN if key in task}
    names = s.datastore.list_images()
    return {**shown, "details": [blank(line, s.config, names) for line in list(task.get("details", ()))]}

"""What clients are told of background work, and how they start and end it."""

from __future__ import annotations

from typing import Any

from monailabel_app import processes
from monailabel_app.errors import MedGANError
from monailabel_app.logs import blank
from monailabel_app.services import Services
from monailabel_app.users import OWNER, User

SHOWN = ("id", "status", "request", "start_ts", "end_ts")


def start(s: Services, user: User, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Starts a task. Raises MedGANError `busy` while one of its kind is active."""
    task = processes.start(method, request)
    task[OWNER] = user.subject
    return show(s, task)


def status(s: Services, method: str, check_if_running: bool, code: str) -> dict[str, Any]:
    """The last task of a kind. Raises MedGANError `code` if there is none, or none that runs when that is asked."""
    found = processes.active(method) if check_if_running else next(reversed(processes.tasks(method)), None)
    if found is None:
        raise MedGANError(code, "None is running." if check_if_running else "None was started.")
    return show(s, found)


def stop(s: Services, user: User, method: str, code: str) -> dict[str, Any]:
    """Ends the task that is active. Raises MedGANError `code` if there is none, `admin_required` for another's."""
    task = processes.active(method)
    if task is None:
        raise MedGANError(code, "None is running.")
    user.check_owner(str(task.get(OWNER, "")), processes.KINDS[method])
    processes.kill(method, task)
    return show(s, task)


def show(s: Services, task: dict[str, Any]) -> dict[str, Any]:
    """A task for clients: what MONAI Label tells of it, with paths and studies blanked."""
    shown = {key: task[key] for key in SHOWN if key in task}
    if "request" in shown:
        shown["request"] = {key: value for key, value in shown["request"].items() if key != processes.SERVER}
    names = s.datastore.list_images()
    return {**shown, "details": [blank(line, s.config, names) for line in list(task.get("details", ()))]}

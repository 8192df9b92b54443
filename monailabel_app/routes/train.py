"""Training: start, watch, cancel."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body

from monailabel_app.errors import MedGANError
from monailabel_app.finetune.runs import (
    ENDED,
    close_run,
    discard_run,
    last_run,
    new_run,
    read_run,
    request_cancel,
)
from monailabel_app.finetune.segmentation import SegmentationTraining
from monailabel_app.options import validate
from monailabel_app.routes import tasks
from monailabel_app.services import Served, Services, pick

router = APIRouter(prefix="/train", tags=["training"])
METHOD = "train"
LEAVE_SECONDS = 10.0
GONE = "The training process ended without a word; perhaps the computer was out of memory. The log may tell more."
STATUS = {"promoted": "DONE", "refused": "DONE", "cancelled": "STOPPED", "failed": "ERROR"}
Params = Annotated[dict[str, Any] | None, Body()]


@router.post("/", include_in_schema=False)
def start_all(s: Served, params: Params = None) -> dict[str, Any]:
    """MONAI Label's way to train without naming a model; works where one learns from labels."""
    learning = [name for name, task in s.app.trainers.items() if isinstance(task, SegmentationTraining)]
    if len(learning) != 1:
        raise MedGANError("bad_request", "The request names no model.", f"Trainers: {', '.join(s.app.trainers)}.")
    name = learning[0]
    return {name: {"result": start(s, name, params), "detail": None}}


@router.post("/{model}")
def start(s: Served, model: str, params: Params = None) -> dict[str, Any]:
    """Starts a run in a process of its own."""
    trainer = pick(s.app.trainers, model, "unknown_trainer", "trainer")
    options, _ = validate(params or {}, trainer.schema())
    _check_free(s)
    s.registry.current(model).verify()
    trainer.labelled(s.datastore)
    run = new_run(s.config.runs, model)
    try:
        task = tasks.start(s, METHOD, {"model": model, "run": run, "server": os.getpid(), **options})
    except MedGANError:
        discard_run(s.config.runs, run)
        raise
    return {**task, "medgan": read_run(s.config.runs, run)}


@router.get("/")
def status(s: Served, check_if_running: bool = False) -> dict[str, Any]:
    """The run that goes on or, unless only that is asked, the last one."""
    try:
        task = tasks.status(s, METHOD, check_if_running, "no_training")
    except MedGANError:
        return _earlier(s, check_if_running)
    return _with_progress(s, task)


@router.delete("/")
def stop(s: Served) -> dict[str, Any]:
    """Cancels the run that goes on. One that has just been promoted stays promoted."""
    task = tasks.active(METHOD)
    if task is None:
        raise MedGANError("no_training", "No training is running.")
    model, run = task["request"]["model"], task["request"]["run"]
    with s.registry.lock(model):
        progress = read_run(s.config.runs, run)
        if progress and progress["state"] not in ENDED:
            request_cancel(s.config.runs, run)
            tasks.kill(METHOD, task)
            close_run(s.config.runs, run, "cancelled")
            s.registry.remove_unfinished(model)
    return _with_progress(s, tasks.show(s, task))


def _check_free(s: Services) -> None:
    """Raises MedGANError `busy` during a run; one that has its verdict is given time to leave."""
    end = time.monotonic() + LEAVE_SECONDS
    while task := tasks.active(METHOD):
        progress = read_run(s.config.runs, task["request"]["run"]) or {}
        if progress.get("state") not in ENDED or time.monotonic() > end:
            raise MedGANError("busy", "A training run is going on.", "Wait until it ends, or stop it.")
        time.sleep(0.1)


def _with_progress(s: Services, task: dict[str, Any]) -> dict[str, Any]:
    run = task["request"]["run"]
    if task["status"] not in tasks.ACTIVE:
        close_run(s.config.runs, run, "failed", GONE)
    progress = read_run(s.config.runs, run)
    state = progress["state"] if progress else "failed"
    active = task["status"] in tasks.ACTIVE and state not in ENDED
    return {**task, "status": task["status"] if active else STATUS[state], "medgan": progress}


def _earlier(s: Services, only_running: bool) -> dict[str, Any]:
    """The last run of an earlier start of the server."""
    progress = None if only_running else last_run(s.config.runs)
    if progress is None:
        raise MedGANError("no_training", "No training is running." if only_running else "There was no training yet.")
    request = {"model": progress["model"], "run": progress["run"]}
    task = {"id": progress["run"], "status": STATUS.get(progress["state"], "ERROR"), "request": request, "details": []}
    return {**task, "medgan": progress}

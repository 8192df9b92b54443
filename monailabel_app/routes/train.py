"""Training: ask for it, watch, cancel. One run goes on at a time, the others wait."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Body, Depends, Query
from fastapi.sse import EventSourceResponse

from monailabel_app import processes
from monailabel_app.errors import MedGANError, choices
from monailabel_app.finetune.auto import learning
from monailabel_app.finetune.runs import ENDED, INTERRUPTED, QUEUED, last_run, owner_of
from monailabel_app.following import LOOK_SECONDS
from monailabel_app.options import validate
from monailabel_app.routes import tasks
from monailabel_app.routes.params import JSON_ERRORS, author_of
from monailabel_app.services import Served, Services, pick
from monailabel_app.users import Caller, User

router = APIRouter(prefix="/train", tags=["training"])
METHOD = "train"
WAITS = "QUEUED"
STATUS = {"promoted": "DONE", "refused": "DONE", "cancelled": "STOPPED", QUEUED: WAITS, INTERRUPTED: WAITS}
FOLLOW_SECONDS = 600.0  # then it is to be asked again, which not everybody may who once could
SHOWN = ("run", "model", "position", "requested", "author", "reason")
Params = Annotated[dict[str, Any] | None, Body()]


@router.post("/", include_in_schema=False)
def start_all(s: Served, user: Caller, params: Params = None) -> dict[str, Any]:
    """MONAI Label's way to train without naming a model; works where one learns from labels."""
    found = learning(s.app.trainers)
    if len(found) != 1:
        raise MedGANError("bad_request", "The request names no model.", f"Trainers: {choices(s.app.trainers)}.")
    return {found[0]: {"result": start(s, user, found[0], params), "detail": None}}


@router.post("/{model}")
def start(s: Served, user: Caller, model: str, params: Params = None) -> dict[str, Any]:
    """Starts a run in a process of its own or, while another goes on, lets it wait."""
    trainer = pick(s.app.trainers, model, "unknown_trainer", "trainer")
    options, _ = validate(params or {}, trainer.schema())
    author = author_of(user.signed(params or {}), "author", "client_id")
    s.registry.current(model).verify()
    trainer.check(s.datastore)
    s.training.let_leave()
    return _task_of(s, s.training.progress(s.training.add(model, options, author, owner=user.subject)))


@router.get("/")
def status(s: Served, check_if_running: bool = False) -> dict[str, Any]:
    """The run that goes on or, unless only that is asked, the last one; and those that wait."""
    queue = s.training.waiting()
    if processes.active(METHOD) or (processes.tasks(METHOD) and not check_if_running):
        task = tasks.status(s, METHOD, check_if_running, "no_training")
        found = _told(task, s.training.progress(task["request"]["run"]))
    else:
        found = _without_process(s, queue, check_if_running)
    return {**found, "queue": [{key: progress[key] for key in SHOWN} for progress in queue]}


def _place(s: Served) -> Iterator[None]:
    with s.followers.place():
        status(s)  # so that there is something to follow
        yield


@router.get("/events", response_class=EventSourceResponse, responses=JSON_ERRORS, dependencies=[Depends(_place)])
async def events(s: Served) -> AsyncIterator[dict[str, Any]]:
    """What `GET /train/` tells, as server-sent events, whenever it changes; until no run goes on or waits."""
    known, end = None, time.monotonic() + FOLLOW_SECONDS
    while not s.followers.leaving:
        look = partial(s.followers.look, partial(status, s), fresh=known is None)
        try:
            told = await anyio.to_thread.run_sync(look, limiter=s.followers.threads)
        except MedGANError:  # who asks again is told what is wrong
            return
        if told != known:
            yield told
        known, goes_on = told, told["medgan"]["state"] not in ENDED or told["queue"]
        if not goes_on or time.monotonic() > end:
            return
        await anyio.sleep(LOOK_SECONDS)


@router.delete("/")
def stop(s: Served, user: Caller) -> dict[str, Any]:
    """Cancels the run that goes on. One that has just been promoted stays promoted."""
    task = processes.active(METHOD)
    if task is None:
        raise MedGANError("no_training", "No training is running.")
    run = task["request"]["run"]
    _cancel(s, user, run)
    return _told(tasks.show(s, task), s.training.progress(run))


@router.get("/runs")
def runs(s: Served, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> dict[str, Any]:
    """The newest runs, newest first."""
    return {"runs": s.training.newest(limit)}


@router.get("/runs/{run}")
def progress_of(s: Served, run: str) -> dict[str, Any]:
    """One run."""
    return s.training.progress(run)


@router.delete("/runs/{run}")
def cancel(s: Served, user: Caller, run: str) -> dict[str, Any]:
    """Cancels a run that goes on or waits."""
    state = s.training.progress(run)["state"]
    if state in ENDED:
        raise MedGANError("conflict", f"The training run {run} has ended: {state}.")
    _cancel(s, user, run)
    return s.training.progress(run)


def _cancel(s: Services, user: User, run: str) -> None:
    """Others' runs, and those that the server began by itself, are for administrators."""
    user.check_owner(owner_of(s.config.runs, run), "The training run")
    s.training.cancel(run)


def _task_of(s: Services, progress: dict[str, Any]) -> dict[str, Any]:
    """A run as a task of MONAI Label's, with or without a process."""
    task = next((t for t in processes.tasks(METHOD) if t["request"]["run"] == progress["run"]), None)
    if task:
        return _told(tasks.show(s, task), progress)
    request = {"model": progress["model"], "run": progress["run"]}
    return _told({"id": progress["run"], "status": "", "request": request, "details": []}, progress)


def _told(task: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
    """A task with the run's progress, which knows better how it ended."""
    state = progress["state"]
    goes_on = task["status"] in processes.ACTIVE and state not in ENDED
    return {**task, "status": task["status"] if goes_on else STATUS.get(state, "ERROR"), "medgan": progress}


def _without_process(s: Services, queue: list[dict[str, Any]], only_running: bool) -> dict[str, Any]:
    """The run that is about to begin or, unless only that is asked, the last one of an earlier start of the server."""
    progress = queue[0] if queue else None if only_running else last_run(s.config.runs)
    if progress is None:
        raise MedGANError("no_training", "No training is running." if only_running else "There was no training yet.")
    return _task_of(s, {**progress, "position": progress.get("position")})

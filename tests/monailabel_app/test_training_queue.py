"""The queue of training runs: first come, first served; it outlives the server; what was cut off goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_world import MODEL

from monailabel_app.errors import MedGANError
from monailabel_app.finetune import queue as module
from monailabel_app.finetune.queue import MOST_RESUMED, TrainingQueue
from monailabel_app.finetune.runs import Run, read_run
from monailabel_app.registry import Registry

OTHER = "other_model"


class Machine:
    """In place of the training process: remembers what it was started with, ends when it is told to."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.now: str | None = None

    def start(self, request: dict[str, Any]) -> None:
        if request["model"] == "broken":
            raise MedGANError("unknown_trainer", "There is no trainer.")
        assert self.now is None, "two processes at once"
        self.started.append(request)
        self.now = request["run"]

    def run(self) -> str | None:
        return self.now

    def kill(self) -> None:
        self.now = None


class World:
    """A queue, the machine below it, and the disk; `restart` is a new server on the same disk."""

    def __init__(self, folder: Path, shipped: Path) -> None:
        self.runs, self.registry = folder / "runs", Registry(shipped, folder / "models")
        self.opened: list[TrainingQueue] = []
        self.restart()

    def restart(self, politely: bool = False) -> None:
        if politely:
            self.queue.close()
        elif self.opened:
            self.queue._stopping.set()
        self.machine = Machine()
        self.queue = TrainingQueue(self.runs, self.machine, self.registry)
        self.opened.append(self.queue)
        self.queue.open()

    def add(self, model: str, **more: Any) -> str:
        return self.queue.add(model, {"max_epochs": 3}, **more)

    def train(self, run: str) -> Run:
        """What the process does first."""
        made = Run(self.runs / run, self.state(run, "model"))
        made.stage("training")
        return made

    def end(self, run: str, state: str = "refused") -> None:
        self.train(run).end(state)
        self.machine.kill()

    def state(self, run: str, key: str = "state") -> Any:
        return (read_run(self.runs, run) or {})[key]

    def wait(self, run: str, state: str) -> None:
        end = time.monotonic() + 10
        while self.state(run) != state or (state == "starting" and self.machine.now != run):
            assert time.monotonic() < end, (self.state(run), state)
            time.sleep(0.02)


@pytest.fixture
def world(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.02)
    made = World(tmp_path, models)
    yield made
    for queue in made.opened:
        queue.close()


def test_a_run_begins_at_once_and_the_next_by_itself_when_it_ends(world: World) -> None:
    first, second, third = (world.add(model, author="Dr A") for model in (MODEL, OTHER, MODEL))
    assert [world.state(run) for run in (first, second, third)] == ["starting", "queued", "queued"]
    assert [(p["run"], p["position"]) for p in world.queue.waiting()] == [(second, 1), (third, 2)]
    assert [p["run"] for p in world.queue.newest(2)] == [third, second]
    assert world.queue.progress(first)["position"] is None
    world.end(first)
    world.wait(second, "starting")
    world.end(second)
    world.wait(third, "starting")
    assert [r["run"] for r in world.machine.started] == [first, second, third]
    assert world.machine.started[0]["max_epochs"] == 3
    assert world.state(first) == "refused" and world.state(first, "author") == "Dr A"


def test_a_model_waits_once(world: World) -> None:
    world.add(MODEL)
    world.add(MODEL)
    with pytest.raises(MedGANError, match="waits already") as caught:
        world.add(MODEL)
    assert caught.value.code == "busy"
    assert len(world.queue.newest(9)) == 2


def test_many_at_once_are_served_one_after_the_other(world: World) -> None:
    threads = [threading.Thread(target=world.add, args=(f"model_{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    order = [p["run"] for p in world.queue.waiting()]
    assert len(order) == 7 and order == sorted(order)
    for run in order:
        world.end(world.machine.now or "")
        world.wait(run, "starting")


def test_the_queue_survives_the_server(world: World) -> None:
    first, second, third = (world.add(model) for model in (MODEL, OTHER, MODEL))
    world.train(first)
    world.restart()
    world.wait(first, "starting")
    assert [p["run"] for p in world.queue.waiting()] == [second, third], "the one that was cut off goes first"
    request = world.machine.started[0]
    assert (request["run"], request["model"], request["max_epochs"]) == (first, MODEL, 3)


@pytest.mark.parametrize("politely", [True, False])
def test_a_run_is_taken_up_three_times_and_then_fails_with_the_reason(world: World, politely: bool) -> None:
    run = world.add(MODEL)
    began = world.queue.last_begin(MODEL)
    for times in range(MOST_RESUMED + 1):
        world.wait(run, "starting")
        assert world.state(run, "resumed") == times
        (world.train(run).work).mkdir(exist_ok=True)
        if politely:
            world.queue.close()
            assert world.state(run) == "interrupted"
        world.restart()
        assert world.queue.last_begin(MODEL) == began, "it still is of then"
    assert world.state(run) == "failed" and "4 times" in world.state(run, "error")
    assert not (world.runs / run / "work").exists()
    assert world.machine.now is None and not world.queue.waiting()
    assert world.add(MODEL) == world.machine.now


@pytest.mark.parametrize("promoted", [True, False])
def test_a_run_that_the_gate_had_judged_is_not_trained_again(world: World, models: Path, promoted: bool) -> None:
    run = world.add(MODEL)
    world.train(run)
    candidate = staged(world, models, run)
    world.registry.judge(candidate, promoted, "Dice rose.", [])
    world.restart()
    assert world.state(run) == ("promoted" if promoted else "refused")
    verdict = world.state(run, "verdict")
    assert (verdict["promoted"], verdict["version"], verdict["reason"]) == (promoted, candidate.name, "Dice rose.")
    assert verdict["serving"] == (candidate.name if promoted else "v0001")
    assert not world.machine.started


def test_a_candidate_that_was_not_measured_is_refused_and_its_run_goes_on(world: World, models: Path) -> None:
    run = world.add(MODEL)
    world.train(run)
    candidate = staged(world, models, run)
    for _ in range(2):
        world.restart()
        world.wait(run, "starting")
    assert world.registry.get(MODEL, candidate.name).record.state == "refused"
    assert world.registry.current(MODEL).name == "v0001"


def staged(world: World, models: Path, run: str) -> Any:
    with world.registry.staging(MODEL, run) as folder:
        for file in (models / MODEL / "v0001").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return world.registry.add(MODEL, folder, "v0001", run)


def test_cancel_reaches_the_run_that_goes_on_and_those_that_wait(world: World) -> None:
    first, second, third = (world.add(model) for model in (MODEL, OTHER, MODEL))
    (world.train(first).work).mkdir()
    world.queue.cancel(second)
    assert world.state(second) == "cancelled" and world.state(first) == "training"
    world.queue.cancel(first)
    world.wait(third, "starting")
    assert world.state(first) == "cancelled" and not (world.runs / first / "work").exists()
    world.end(third)
    world.queue.cancel(third)
    assert world.state(third) == "refused", "what has ended stays as it is"
    world.restart()
    assert world.machine.now is None and not world.queue.waiting()
    for name in ("20000101-000000-0000", "..", "../x", ""):
        with pytest.raises(MedGANError) as caught:
            world.queue.cancel(name)
        assert caught.value.code == "unknown_run"


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_process_that_goes_between_the_verdict_and_its_note(world: World, models: Path, cancelled: bool) -> None:
    run = world.add(MODEL)
    world.train(run)
    candidate = staged(world, models, run)
    world.registry.judge(candidate, True, "Dice rose.", [])
    world.queue.cancel(run) if cancelled else world.machine.kill()
    world.wait(run, "promoted")
    assert world.state(run, "verdict")["serving"] == world.registry.current(MODEL).name == candidate.name


def test_a_process_that_dies_without_a_word_is_noticed_though_nobody_asks(world: World) -> None:
    run, after = world.add(MODEL), world.add(OTHER)
    world.train(run)
    world.machine.kill()
    world.wait(run, "failed")
    assert "without a word" in world.state(run, "error")
    world.wait(after, "starting")


def test_what_cannot_be_started_fails_and_holds_nobody_up(world: World) -> None:
    first, broken, after = (world.add(model) for model in (MODEL, "broken", OTHER))
    world.end(first)
    world.wait(after, "starting")
    assert world.state(broken) == "failed" and "no trainer" in world.state(broken, "error")


def test_runs_of_servers_before_there_was_a_queue(world: World) -> None:
    """They have no request to be repeated."""
    old = Run(world.runs / "20200101-000000-abcd", MODEL)
    old.stage("training")
    world.restart()
    assert world.state(old.folder.name) == "failed" and "server stopped" in world.state(old.folder.name, "error")

"""A run's progress: whole at any moment, closed for good when it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from monailabel_app import watch
from monailabel_app.finetune.runs import (
    PROGRESS,
    Run,
    close_run,
    last_run,
    new_run,
    read_run,
    remove_unfinished_runs,
    request_cancel,
    run_names,
)
from trainers.files import WRITING
from trainers.monitor import Cancelled

WATCHER = (
    "import os, time; from watch import die_with; die_with(os.getppid(), 0.1); print(1, flush=True); time.sleep(60)"
)
STARTER = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WATCHER!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
"""


def test_curves_hold_one_value_an_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path / "r", "m")
    for epoch, loss in [(1, 0.9), (1, 0.8), (2, 0.7)]:
        run.report(epoch=epoch, epochs=2, loss=loss)
    run.report(epoch=0, metric=0.5)
    run.end("promoted", verdict={"promoted": True})
    progress = read_run(tmp_path, "r")
    assert progress is not None
    assert (progress["loss"], progress["metric"]) == ([[1, 0.8], [2, 0.7]], [[0, 0.5]])
    assert (progress["state"], progress["verdict"]) == ("promoted", {"promoted": True})


def test_cancel_reaches_the_run(tmp_path: Path) -> None:
    name = new_run(tmp_path, "m")
    run = Run(tmp_path / name, "m")
    run.check()
    request_cancel(tmp_path, name)
    with pytest.raises(Cancelled):
        run.stage("training")


def test_a_run_that_ended_stays_as_it_is(tmp_path: Path) -> None:
    ended, open_ = Run(tmp_path / "1", "m"), Run(tmp_path / "2", "m")
    ended.end("refused")
    open_.report(state="training")
    for name in "12":
        close_run(tmp_path, name, "failed", "why")
    assert [read_run(tmp_path, n)["state"] for n in "12"] == ["refused", "failed"]  # type: ignore[index]
    close_run(tmp_path, "2", "cancelled")
    assert last_run(tmp_path)["state"] == "failed"  # type: ignore[index]


def test_names_sort_in_the_order_of_the_requests(tmp_path: Path) -> None:
    names = [new_run(tmp_path, "m") for _ in range(50)]
    assert names == run_names(tmp_path) and len(set(names)) == 50
    assert last_run(tmp_path) is None, "none has begun"


def test_a_run_that_is_taken_up_keeps_its_curves_and_what_it_began_with(tmp_path: Path) -> None:
    name = new_run(tmp_path, "m", {"seed": 3}, "Dr A", "5 new labels")
    first = Run(tmp_path / name, "m")
    assert first.begin("v0001", ["b", "a"]) == {"a", "b"}
    for epoch in range(3):
        first.report(epoch=epoch, epochs=5, metric=epoch / 10, loss=1 - epoch / 10)
    first.stage("training")
    first.work.mkdir()
    again = Run(tmp_path / name, "m")
    assert again.begin("v0001", ["a", "c"]) == {"a", "b"}, "as before, whatever was labelled since"
    again.report(epoch=0, metric=0.05)
    again.report(epoch=3, metric=0.3)
    again.stage("training")
    progress = read_run(tmp_path, name)
    assert progress is not None
    assert progress["metric"] == [[0, 0.05], [1, 0.1], [2, 0.2], [3, 0.3]]
    assert (progress["author"], progress["reason"], progress["epochs"]) == ("Dr A", "5 new labels", 5)
    assert again.work.exists()
    assert Run(tmp_path / name, "m").begin("v0002", ["a", "c"]) == {"a", "c"}, "another version serves: anew"
    assert not again.work.exists()


def test_a_process_ends_with_the_one_it_watches() -> None:
    folder = str(Path(watch.__file__).parent)
    starter = subprocess.run(
        [sys.executable, "-c", STARTER],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=True,
        cwd=folder,
    )
    orphan = int(starter.stdout)
    if psutil.pid_exists(orphan):
        psutil.Process(orphan).wait(5)
    assert not psutil.pid_exists(orphan)


def test_a_process_whose_server_is_gone_before_it_is_loaded_does_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    code = f"from watch import die_with; die_with({gone.pid}); print('works')"
    folder = Path(watch.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, b"")


def test_what_a_killed_server_left_of_a_request_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept, damaged, begun = (new_run(tmp_path, "m") for _ in range(3))
    (tmp_path / damaged / PROGRESS).write_text("")
    (tmp_path / begun / PROGRESS).unlink()
    (tmp_path / kept / f"{WRITING}x").write_text("half")
    remove_unfinished_runs(tmp_path)
    assert run_names(tmp_path) == [kept, damaged]
    assert not list(tmp_path.rglob(f"{WRITING}*"))

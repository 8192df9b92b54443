"""Fine-tuning in this process: what is learned from, the trusted set, replay."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_world import MODEL, crop, swapped, truth, write_case

from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune import material
from monailabel_app.finetune import segmentation as module
from monailabel_app.finetune.runs import Run, new_run, read_run, request_cancel
from monailabel_app.finetune.segmentation import SegmentationTraining
from monailabel_app.registry import Registry
from trainers.data.volumes import write_volume
from trainers.fit import CHECKPOINT_FILE
from trainers.spec import WEIGHTS_FILE


@pytest.fixture
def shipped(models: Path, tmp_path: Path) -> Path:
    """The small model, without its reference cases."""
    shutil.copytree(models / MODEL / "v0001", tmp_path / "shipped" / MODEL / "v0001")
    return tmp_path / "shipped"


def clinic(
    folder: Path, shipped: Path, poisoned: bool = False, **more: Any
) -> tuple[SegmentationTraining, StudyDatastore]:
    """A server's parts with five labelled studies."""
    config = ServerConfig(folder / "studies", folder / "data", models=shipped, **more)
    config.prepare()
    for number in range(5):
        image = crop(number)
        write_volume(config.studies / f"p{number}_a.nii.gz", image)
        label = truth(image)
        write_volume(config.studies / "labels/final" / f"p{number}_a.nii.gz", swapped(label) if poisoned else label)
    registry = Registry(shipped, config.data / "models")
    return SegmentationTraining(MODEL, config, registry), StudyDatastore(config.studies, config.data / "backups")


def train(task: SegmentationTraining, store: StudyDatastore, epochs: int = 4) -> dict[str, Any]:
    run = new_run(task.server.runs, MODEL)
    task({"run": run, "server": os.getpid(), "max_epochs": epochs, "learning_rate": 0.01}, store)
    progress = read_run(task.server.runs, run)
    assert progress is not None
    return progress


def test_trusted_cases_of_the_administrator_catch_poison(shipped: Path, tmp_path: Path) -> None:
    for number in (60, 61):
        write_case(tmp_path / "trusted", number)
    task, store = clinic(tmp_path, shipped, poisoned=True, validation=tmp_path / "trusted")
    progress = train(task, store)
    assert progress["state"] == "refused"
    assert "trusted" in progress["verdict"]["reason"]
    assert task.registry.current(MODEL).name == "v0001"


def test_good_labels_pass_the_trusted_cases_too(shipped: Path, tmp_path: Path) -> None:
    for number in (60, 61):
        write_case(tmp_path / "trusted", number)
    task, store = clinic(tmp_path, shipped, validation=tmp_path / "trusted")
    progress = train(task, store)
    assert progress["state"] == "promoted", progress["verdict"]
    assert {c["name"] for c in progress["verdict"]["checks"]} == {"validation", "trusted"}


def test_replay_cases_are_given_to_the_training(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    real = module.finetune

    def listening(base: Path, out: Path, train: Any, validation: Any, replay: Any, *rest: Any) -> None:
        given.update(train={c.id for c in train}, validation={c.id for c in validation}, replay=[c.id for c in replay])
        real(base, out, train, validation, replay, *rest)

    write_case(tmp_path / "replay", 70)
    monkeypatch.setattr(module, "finetune", listening)
    task, store = clinic(tmp_path, shipped, replay=tmp_path / "replay")
    train(task, store, epochs=1)
    assert given["replay"] == ["case_70"]
    assert not given["train"] & given["validation"]
    assert len(given["train"] | given["validation"]) == 5


def test_labels_that_cannot_be_learned_from_are_left_out_with_the_reason(shipped: Path, tmp_path: Path) -> None:
    task, store = clinic(tmp_path, shipped)
    write_volume(store.label_path("p0_a", "final"), crop(0).like(np.full((36, 52, 36), 9, np.uint8)))
    store.update_label_info("p1_a", "final", {"model": "another_model"})
    found = task.labelled(store)
    assert [case.id for case in found.cases] == ["p2_a", "p3_a", "p4_a"]
    assert "9" in found.skipped[0] and "another_model" in found.skipped[1]
    for study in ("p2_a", "p3_a", "p4_a"):
        store.remove_label(study, "final")
    with pytest.raises(MedGANError, match=r"No labelled study can be learned from\. Left out: 2, of them p0_a: .*9"):
        task.labelled(store)


def test_a_run_is_asked_for_without_reading_all_labels(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, store = clinic(tmp_path, shipped)
    store.update_label_info("p0_a", "final", {"model": "another_model"})
    read: list[str] = []
    noted = material.read_label
    monkeypatch.setattr(material, "read_label", lambda path, *rest: read.append(path.name) or noted(path, *rest))
    task.check(store)
    assert read == ["p1_a.nii.gz"]


def test_studies_of_one_patient_stay_together(shipped: Path, tmp_path: Path) -> None:
    task, store = clinic(tmp_path, shipped, patient_pattern=r"p\d")
    write_volume(task.server.studies / "p3_b.nii.gz", crop(3))
    write_volume(task.server.studies / "labels/final/p3_b.nii.gz", truth(crop(3)))
    patients = task.labelled(store).patients
    assert patients["p3_a"] == patients["p3_b"] == "p3"


class PowerCut(BaseException):
    """Ends the training as the end of its process would: nobody is told."""


class Watcher:
    """Notes the steps of the training, and may cut the power at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[int] = []
        self.cut_at = 0
        self._report, self._check = Run.report, Run.check
        monkeypatch.setattr(Run, "report", lambda run, **state: self.report(run, **state))
        monkeypatch.setattr(Run, "check", lambda run: self.check(run))

    def report(self, run: Run, **state: Any) -> None:
        if "loss" in state:
            self.steps.append(state["step"])
        self._report(run, **state)

    def check(self, run: Run) -> None:
        if self.cut_at and self.steps[-1:] == [self.cut_at]:
            self.cut_at = 0
            raise PowerCut
        self._check(run)


def weights(task: SegmentationTraining, version: str) -> bytes:
    return (task.registry.get(MODEL, version).path / WEIGHTS_FILE).read_bytes()


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, though another study was labelled in between: it is not learned from before the next run."""
    whole, whole_store = clinic(tmp_path / "whole", shipped)
    train(whole, whole_store, epochs=3)
    task, store = clinic(tmp_path / "cut", shipped)
    watcher = Watcher(monkeypatch)
    watcher.cut_at = 11
    run = new_run(task.server.runs, MODEL)
    request = {"run": run, "server": os.getpid(), "max_epochs": 3, "learning_rate": 0.01}
    with pytest.raises(PowerCut):
        task(request, store)
    assert (task.server.runs / run / "work" / CHECKPOINT_FILE).exists()
    write_volume(task.server.studies / "p9_a.nii.gz", crop(9))
    write_volume(task.server.studies / "labels/final" / "p9_a.nii.gz", truth(crop(9)))
    watcher.steps.clear()
    task(request, store)
    progress = read_run(task.server.runs, run)
    assert progress is not None and progress["state"] == "promoted", progress
    assert watcher.steps == list(range(12, 25))
    assert sum(progress["cases"].values()) == 5
    assert [epoch for epoch, _ in progress["metric"]] == [0, 1, 2, 3]
    assert weights(task, progress["verdict"]["version"]) == weights(whole, "v0002")
    assert not (task.server.runs / run / "work").exists()


def test_a_run_whose_studies_are_not_all_there_any_more_begins_anew(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, store = clinic(tmp_path, shipped)
    watcher = Watcher(monkeypatch)
    watcher.cut_at = 5
    run = new_run(task.server.runs, MODEL)
    request = {"run": run, "server": os.getpid(), "max_epochs": 1, "learning_rate": 0.01}
    with pytest.raises(PowerCut):
        task(request, store)
    store.remove_label("p0_a", "final")
    watcher.steps.clear()
    task(request, store)
    assert watcher.steps == list(range(1, 9))
    assert (read_run(task.server.runs, run) or {})["state"] in ("promoted", "refused")


def test_a_cancelled_run_leaves_no_version(shipped: Path, tmp_path: Path) -> None:
    task, store = clinic(tmp_path, shipped)
    run = new_run(task.server.runs, MODEL)
    request_cancel(task.server.runs, run)
    task({"run": run, "server": os.getpid()}, store)
    assert read_run(task.server.runs, run)["state"] == "cancelled"  # type: ignore[index]
    assert [v.name for v in task.registry.versions(MODEL)] == ["v0001"]


def test_cancelling_in_the_last_moment_promotes_nothing(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, store = clinic(tmp_path, shipped)
    real = Registry.judge

    def cancelled_first(self: Registry, *arguments: Any) -> Any:
        request_cancel(task.server.runs, run)
        return real(self, *arguments)

    monkeypatch.setattr(Registry, "judge", cancelled_first)
    run = new_run(task.server.runs, MODEL)
    task({"run": run, "server": os.getpid(), "max_epochs": 1}, store)
    assert read_run(task.server.runs, run)["state"] == "cancelled"  # type: ignore[index]
    assert task.registry.current(MODEL).name == "v0001"


def test_a_failure_is_told(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise ZeroDivisionError("inner detail")

    monkeypatch.setattr(module, "finetune", failing)
    task, store = clinic(tmp_path, shipped)
    run = new_run(task.server.runs, MODEL)
    with pytest.raises(ZeroDivisionError):
        task({"run": run, "server": os.getpid()}, store)
    progress = read_run(task.server.runs, run)
    assert progress is not None and progress["state"] == "failed"
    assert "log" in progress["error"] and "inner detail" not in progress["error"]
    assert not list(task.server.data.glob("models/*/.staging-*"))

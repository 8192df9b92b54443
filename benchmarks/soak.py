"""Processes that work are killed at random moments; after each kill everything opens and nothing acknowledged is lost.

A process of its own saves, removes and takes back labels, records scores, adds and removes studies, asks for training
runs and works on them, promotes versions and rolls back. It notes on disk what it begins and what is done. What was
done must be there after the kill; what was begun may be done or not, but nothing in between.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.ledger import ANY, OPENING, Facts, Ledger, Tally, differences, read_ledger
from monailabel_app import history
from monailabel_app.datastore import FINAL, StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.runs import Run, new_run, read_run, remove_unfinished_runs, run_names
from monailabel_app.history import LabelHistory, sha256
from monailabel_app.registry import RECORD, STAGING, Registry
from trainers.data.volumes import Volume, write_volume
from trainers.files import WRITING
from trainers.monitor import Cancelled
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights

MODEL = "soak_segmentation"
STUDIES = ("a", "b", "c", "d")
SHAPE = (8, 8, 8)
LONGEST = 0.6  # seconds from a start to its kill
NEW = "x"  # begins the names of studies that come and go


@dataclass
class Place:
    """A small site: studies, data and shipped models, all in one folder.

    Attributes:
        folder: where. model: whose versions are looked at.
    """

    folder: Path
    model: str = MODEL

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.folder / "data"

    @property
    def runs(self) -> Path:
        """Training runs."""
        return self.data / "runs"

    @property
    def ledger(self) -> Path:
        """What the process noted that is killed."""
        return self.folder / "ledger"

    def label(self, value: int) -> Path:
        """A label whose voxels are all `value`."""
        return self.folder / f"label_{value}.nii.gz"

    def store(self) -> StudyDatastore:
        """Opens the studies."""
        return StudyDatastore(self.folder / "studies", self.data / "backups")

    def registry(self) -> Registry:
        """Opens the versions."""
        return Registry(self.folder / "models", self.data / "models")

    def make(self) -> None:
        """Makes everything anew."""
        import torch

        shutil.rmtree(self.folder, ignore_errors=True)
        for study in STUDIES:
            write_volume(self.folder / "studies" / f"{study}.nii.gz", Volume(np.zeros(SHAPE, np.float32), np.eye(4)))
        for value in range(1, 6):
            write_volume(self.label(value), Volume(np.full(SHAPE, value, np.uint8), np.eye(4)))
        shipped = self.folder / "models" / MODEL / "v0001"
        shipped.mkdir(parents=True)
        ModelSpec(
            name=MODEL, task="segmentation", title="Soak", description="Nothing.", network={}, preprocess={}
        ).save(shipped)
        save_weights(torch.nn.Linear(64, 64), shipped / WEIGHTS_FILE)
        self.runs.mkdir(parents=True)


class Worker:
    """The process that is killed: it works until then.

    Args:
        place: where. seed: of chance.
    """

    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.random, self.ledger = place, random.Random(seed), Ledger(place.ledger)
        self.store, self.registry = place.store(), place.registry()
        self.number = time.time_ns()

    def work(self) -> None:
        """Never ends."""
        tasks: Sequence[Callable[[], None]] = (
            self.submit, self.submit, self.submit, self.undo, self.remove, self.score, self.score, self.verdict,
            self.add_study, self.remove_study, self.ask, self.train, self.promote, self.roll_back,
        )  # fmt: skip
        while True:
            self.number += 1
            self.random.choice(tasks)()

    def submit(self) -> None:
        """A label, perhaps in the place of another."""
        study, value = self.random.choice(STUDIES), self.random.randint(1, 5)
        with self.ledger.operation("label", **{f"label {study}": self.number}):
            self.store.save_label(study, str(self.place.label(value)), FINAL, {"number": self.number}, "Dr S")

    def undo(self) -> None:
        """The last change of a label is taken back."""
        study = self.random.choice(STUDIES)
        try:
            _, before = history.step_back(self.store.label_history(study, FINAL))
        except MedGANError:
            return
        number = before.info["number"] if before and before.ext else None
        with self.ledger.operation("undo", **{f"label {study}": number}):
            self.store.undo_label(study, FINAL)

    def remove(self) -> None:
        """A label is removed."""
        labelled = self.store.get_labeled_images()
        if labelled:
            study = self.random.choice(labelled)
            with self.ledger.operation("remove label", **{f"label {study}": None}):
                self.store.remove_label(study, FINAL)

    def score(self) -> None:
        """A study is scored."""
        self._tell("score", "score")

    def verdict(self) -> None:
        """A study is marked."""
        self._tell("verdict", "verdict")

    def _tell(self, kind: str, key: str) -> None:
        study = self.random.choice(STUDIES)
        with self.ledger.operation(kind, **{f"{key} {study}": self.number}):
            self.store.update_image_info(study, {key: self.number})

    def add_study(self) -> None:
        """A new study."""
        name, file = f"{NEW}{self.number}", self.place.folder / "studies" / "a.nii.gz"
        with self.ledger.operation("study", **{f"image {name}": sha256(file)}):
            self.store.add_image(name, str(file), {})

    def remove_study(self) -> None:
        """One of the new studies goes."""
        new = [name for name in self.store.list_images() if name.startswith(NEW)]
        if new:
            with self.ledger.operation("remove study", **{f"image {new[0]}": None}):
                self.store.remove_image(new[0])

    def ask(self) -> None:
        """A training run is asked for."""
        with self.ledger.operation("ask for a run", **{"run": ANY}) as told:
            told[f"run {new_run(self.place.runs, MODEL)}"] = "queued"

    def train(self) -> None:
        """A process works on a run that waits."""
        waiting = [name for name in run_names(self.place.runs) if state_of(self.place.runs, name) == "queued"]
        if not waiting:
            return
        with self.ledger.operation("train", **{f"run {waiting[0]}": ANY}) as told:
            run = Run(self.place.runs / waiting[0], MODEL)
            run.begin("v0001", STUDIES)
            for epoch in range(3):
                run.report(state="training", epoch=epoch, loss=1.0 / (1 + epoch))
                (run.work / "checkpoint.pt").parent.mkdir(exist_ok=True)
                (run.work / "checkpoint.pt").write_bytes(bytes(10_000))
            try:
                run.stage("validating")
            except Cancelled:
                return
            run.end("refused")
            told[f"run {waiting[0]}"] = "refused"

    def promote(self) -> None:
        """A candidate is made, judged, and serves."""
        run = f"run{self.number}"
        with self.ledger.operation("promote", **{"version": ANY, "current": ANY}) as told:
            made = promoted(self.registry, MODEL, run)
            told |= {f"version {made}": "published", "current": made}

    def roll_back(self) -> None:
        """Another version serves."""
        published = [v.name for v in self.registry.versions(MODEL) if v.record.state == "published"]
        name = self.random.choice(published)
        with self.ledger.operation("serve", current=name):
            self.registry.serve(MODEL, name)


def promoted(registry: Registry, model: str, run: str) -> str:
    """Makes a candidate of what serves, and promotes it. Returns its name."""
    parent = registry.current(model)
    with registry.staging(model, run) as staged:
        for file in parent.path.iterdir():
            if file.suffix in {".json", ".safetensors"} and file.name != RECORD:
                shutil.copy(file, staged / file.name)
        made = registry.add(model, staged, parent.name, run)
    registry.judge(made, True, "soak", [])
    return made.name


def state_of(runs: Path, name: str) -> str:
    """The state of a run; empty if it cannot be read."""
    return str((read_run(runs, name) or {"state": ""})["state"])


def measure(kills: int, folder: Path, seed: int = 0, tally: Tally | None = None) -> Tally:
    """Kills a process again and again, and looks each time.

    Args:
        kills: how often.
        folder: for the site; made anew.
        seed: of chance.
        tally: is added to.
    """
    place, tally, chance = Place(folder), tally or Tally(), random.Random(seed)
    place.make()
    facts = observe(place, tally)
    for number in range(kills):
        place.ledger.unlink(missing_ok=True)
        worker = multiprocessing.get_context("fork").Process(target=_work, args=(place, seed + number))
        worker.start()
        time.sleep(chance.uniform(0, LONGEST))
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(30)
        kind, expected, begun = read_ledger(place.ledger, facts, tally)
        tally.kills[kind] += 1
        facts = observe(place, tally)
        tally.lost += [f"{kind}: {text}" for text in differences(expected, facts, begun)]
    return tally


def _work(place: Place, seed: int) -> None:
    Worker(place, seed).work()


def observe(place: Place, tally: Tally) -> Facts:
    """Opens everything, as a server does that starts, and says what is so. What is half-written is noted as lost."""
    started = time.perf_counter()
    store, registry = place.store(), place.registry()
    registry.remove_unfinished(place.model)
    remove_unfinished_runs(place.runs)
    registry.current(place.model)
    tally.seconds["process"].append(time.perf_counter() - started)
    tally.lost += [f"{OPENING}: {path.name} stays in {path.parent.name}" for path in left_over(place)]
    facts = facts_of(place, store, tally)
    store.close()
    return facts


def facts_of(place: Place, store: StudyDatastore, tally: Tally) -> Facts:
    """What is so. What does not agree with itself is noted as lost."""
    registry, kept = place.registry(), LabelHistory(place.data / "backups")
    facts: Facts = {"current": registry.current(place.model).name}
    for name in store.list_images():
        info = store.get_image_info(name)
        facts |= {f"{key} {name}": info[key] for key in ("score", "verdict") if key in info}
        if name.startswith(NEW):
            facts[f"image {name}"] = sha256(store.image_path(name))
        else:
            facts |= label_facts(store, kept, name, tally)
    facts |= {f"run {name}": state_of(place.runs, name) for name in run_names(place.runs)}
    for version in registry.versions(place.model):
        version.verify()
        facts[f"version {version.name}"] = version.record.state
    return facts


def label_facts(store: StudyDatastore, kept: LabelHistory, study: str, tally: Tally) -> Facts:
    """The number of the label that counts; its history, its file and what is known of it must agree."""
    try:
        entries = store.label_history(study, FINAL)
    except MedGANError:
        return {}
    whole = [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    whole &= all(sha256(kept.file(entry)) == entry.checksum for entry in entries if entry.ext)
    whole &= all(entry.action != history.FOUND for entry in entries)  # nobody else puts labels there
    newest, number = entries[-1], None
    if study in store.get_labeled_images():
        number = store.get_label_info(study, FINAL).get("number")
        whole &= sha256(store.label_path(study, FINAL)) == newest.checksum and newest.info.get("number") == number
    else:
        whole &= not newest.ext
    if not whole:
        tally.lost.append(f"{OPENING}: the history of {study} does not agree with its label")
    return {f"label {study}": number} if number else {}


def left_over(place: Place, until: float | None = None) -> list[Path]:
    """Files that nobody has written to since `until`, and changes that were not finished."""
    data, labels = place.data, place.folder / "studies" / "labels"
    found = [path for folder in (data, labels) for path in folder.rglob(f"{WRITING}*")]
    found += [*data.rglob(f"{STAGING}*"), *(data / "backups" / "pending").iterdir(), *(data / "tmp").glob("*")]
    return [path for path in found if until is None or _changed(path) < until]


def _changed(path: Path) -> float:
    """When a file was written to; one that is gone meanwhile was not left over."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf

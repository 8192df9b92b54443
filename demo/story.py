"""The demo's steps, each timed, and what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from demo import pictures
from demo.clinician import Clinician, Labels
from demo.mni import head
from demo.studies import HEAD, DemoStudies
from trainers.data.cases import Case
from trainers.data.volumes import read_label, read_volume
from trainers.metrics import label_metrics

Tell = Callable[[str], None]
SYNTHESIS = "hippocampus_synthesis"
SAMPLES, ACCEPTED = 8, 2

RATE = 4e-4  # of learning: higher than a clinic's, for there are few steps


@dataclass
class Step:
    """One line of the report: what was done, how long it took, what came of it."""

    title: str
    seconds: float = 0.0
    result: str = ""


@dataclass
class Findings:
    """All that the report shows.

    Attributes:
        before, after: Dice by label on the held-out cases. seen: one held-out case's label maps by title.
    """

    steps: list[Step] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=list)
    seen: dict[str, Labels] = field(default_factory=dict)


class Story:
    """Plays the demo against a server."""

    def __init__(self, clinician: Clinician, studies: DemoStudies, out: Path, tell: Tell) -> None:
        self.clinician, self.studies, self.out, self.tell = clinician, studies, out, tell
        self.found = Findings()
        model = clinician.workflow.model(clinician.model)
        if model is None:
            raise RuntimeError(f"The server does not offer {clinician.model}.")
        self.labels = dict(model.labels)
        self.colors = {value: model.colors[name] for name, value in model.labels.items()}

    def play(self, epochs: int) -> Findings:
        """All steps in order."""
        self.whole_head()
        self.found.before = self.measure("Measure the serving version on held-out cases", "before")
        self.correct_and_submit()
        self.train(epochs)
        self.found.after = self.measure("Measure what serves now on the same cases", "after")
        self.compare()
        self.roll_back()
        self.synthesise()
        return self.found

    def whole_head(self) -> None:
        """Both hippocampi of a whole head, from a point near each."""
        with self._step("Segment both hippocampi on a whole head, from a point near each") as step:
            volume = self.clinician.open(self.studies.folder / f"{HEAD}.nii.gz")
            outcome = self.clinician.segment({"points": [list(p) for p in self.studies.head.values()]})
            label = self.clinician.labels(outcome, volume)
            millilitres = (label > 0).sum() * float(np.prod(head().spacing)) / 1000
            step.result = f"{millilitres:.1f} ml in {outcome.latencies.get('total', float('nan')):.1f} s at the server"
            self._picture("head_3d", lambda p: pictures.surfaces(self.clinician.surfaces(outcome), head(), p))
            self._picture("head", lambda p: pictures.slices(head(), {"Whole head": label}, self.colors, p))

    def correct_and_submit(self) -> None:
        """Takes what the server wants labelled, runs the model, corrects and submits, until all are done."""
        truths = {case.id: case for case in self.studies.corrected}
        with self._step(f"Take {len(truths)} studies from the server, segment, correct and submit each") as step:
            voxels = done = 0
            while truths:
                volume = self.clinician.take()
                study = self.clinician.workflow.state.study
                assert study is not None
                case = truths.pop(study.image_id, None)
                if case is None:  # the whole head has no expert's label
                    continue
                outcome = self.clinician.segment()
                before = self.clinician.labels(outcome, volume)
                self.clinician.correct(outcome, volume, case.label)
                self.clinician.submit()
                voxels += int((before != read_label(case.label).array).sum())
                done += 1
            step.result = f"{voxels / done:.0f} voxels corrected in a study on average"

    def train(self, epochs: int) -> None:
        """Fine-tunes on the corrections and hears the gate."""
        with self._step("Retrain on the corrections, and let the gate decide") as step:
            status = self.clinician.train({"max_epochs": epochs, "learning_rate": RATE})
            if status.verdict is None:
                raise RuntimeError(f"Training ended as {status.state}: {status.error}")
            verdict = status.verdict
            step.result = ("Promoted: " if verdict.promoted else "Refused: ") + verdict.reason
            self.found.verdict = {
                "promoted": verdict.promoted,
                "version": verdict.version,
                "reason": verdict.reason,
                "checks": verdict.checks,
                "train": status.cases.get("train", 0),
                "validation": status.cases.get("validation", 0),
            }
            self._picture("training", lambda p: pictures.curves(status.loss, status.metric, "Dice", p))

    def measure(self, title: str, name: str) -> dict[str, float]:
        """Dice by label of the version that serves, on the held-out cases, through the server."""
        with self._step(title) as step:
            scores = [self._dice(case, name) for case in self.studies.held_out]
            means = {label: float(np.mean([s[label] for s in scores])) for label in self.labels}
            means["mean"] = float(np.mean(list(means.values())))
            step.result = f"mean Dice {means['mean']:.4f} on {len(scores)} cases"
        return means

    def compare(self) -> None:
        """One held-out case before and after, beside its reference."""
        case = self.studies.held_out[0]
        self.found.seen["Reference"] = read_label(case.label).array
        image = read_volume(case.image)
        self._picture("held_out", lambda p: pictures.slices(image, self.found.seen, self.colors, p))

    def roll_back(self) -> None:
        """Back to the first version and forward again, as an admin would."""
        workflow, model = self.clinician.workflow, self.clinician.model
        with self._step("Roll back to the first version and return") as step:
            present = workflow.wait(workflow.versions(model))
            first = present.versions[0].version
            workflow.wait(workflow.roll_back(model, first))
            back = workflow.wait(workflow.roll_back(model, present.current))
            step.result = f"{present.current} → {first} → {back.current}"
            self.found.versions = [
                {"version": v.version, "state": v.state, "origin": v.origin, "reason": v.reason} for v in back.versions
            ]

    def synthesise(self) -> None:
        """Makes studies that show no patient, shows them beside real ones, adds some to the training studies."""
        with self._step(
            f"Synthesise {SAMPLES} studies with labels, and add {ACCEPTED} to the training studies"
        ) as step:
            gallery = self.clinician.synthesise(SYNTHESIS, SAMPLES)
            made = [(read_volume(s.image), read_label(s.label)) for s in gallery.samples]
            real = [(read_volume(c.image), read_label(c.label)) for c in self.studies.corrected[:SAMPLES]]
            added = self.clinician.add_first(ACCEPTED)
            rows = {"Real": real, "Synthetic": made}
            self._picture("synthetic", lambda p: pictures.beside(rows, self.colors, p))
            step.result = (
                f"{len(made)} made by {gallery.model.title} {gallery.version}, {added} added, marked as synthetic"
            )

    def _dice(self, case: Case, name: str) -> dict[str, float]:
        volume = self.clinician.open(case.image)
        outcome = self.clinician.segment()
        label, truth = self.clinician.labels(outcome, volume), read_label(case.label)
        if case is self.studies.held_out[0]:
            self.found.seen[f"{name.capitalize()} ({outcome.version})"] = label
        return label_metrics(label, truth.array, self.labels, truth.spacing)["dice"]

    def _picture(self, name: str, draw: Callable[[Path], None]) -> None:
        path = self.out / f"{name}.png"
        draw(path)
        self.found.pictures[name] = path

    @contextmanager
    def _step(self, title: str) -> Iterator[Step]:
        self.tell(title)
        step, started = Step(title), time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        self.found.steps.append(step)
        self.tell(f"    {step.seconds:6.1f} s  {step.result}")

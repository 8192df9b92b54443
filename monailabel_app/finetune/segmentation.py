"""Fine-tuning of a segmentation model on the studies that clinicians corrected."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monailabel_app import dicom
from monailabel_app.datastore import FINAL, StudyDatastore
from monailabel_app.finetune.base import FineTuning
from monailabel_app.finetune.gate import Check, Verdict, compare, decide
from monailabel_app.finetune.outlines import split_copies
from monailabel_app.finetune.runs import Run
from monailabel_app.finetune.split import Splits, check_enough, patient_of, within_ratio
from monailabel_app.infers.segmentation import check_scale
from monailabel_app.options import Schema
from monailabel_app.registry import Version
from trainers.card import write_card
from trainers.data.cases import find_cases
from trainers.data.volumes import VolumeError, check_file, read_label
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import Case, FinetuneConfig, Report, evaluate, finetune, reference_cases

logger = logging.getLogger(__name__)

Cases = dict[str, list[Case]]
COPY = "It is synthetic and has the outline of {study}, which is measured on."
SURPLUS = "It is synthetic, and no more than {ratio:g} such studies are learned from for each acquired one."


@dataclass(frozen=True)
class Labelled:
    """Studies that a model can learn from.

    Attributes:
        cases: acquired studies. patients: theirs.
        synthetic: studies that belong to no patient, the newest first: nothing is ever measured on them.
        skipped: those left out, with the reason.
    """

    cases: list[Case] = field(default_factory=list)
    patients: dict[str, str] = field(default_factory=dict)
    synthetic: list[Case] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """What one run works with.

    Attributes:
        train: acquired studies that are learned from. synthetic: those mixed with them.
        measured: acquired studies that are only measured on, by the check's name. skipped: as in Labelled.
    """

    train: list[Case]
    synthetic: list[Case]
    measured: Cases
    skipped: list[str]

    def counts(self) -> dict[str, int]:
        """How many there are, for the run's progress."""
        found = {"train": self.train, "validation": self.measured["validation"], "synthetic": self.synthetic}
        return {name: len(cases) for name, cases in found.items()}


class SegmentationTraining(FineTuning):
    """Fine-tunes a segmentation model with the labels that were submitted as final."""

    about = "Improves {model} with the labels that were submitted as final."

    def schema(self) -> Schema:
        """What a request may set."""
        usual = FinetuneConfig()
        cores = os.cpu_count() or 1
        ratio = {"type": "number", "minimum": 0, "maximum": self.server.synthetic_ratio}
        rate = {"type": "number", "minimum": 1e-7, "maximum": 0.1, "default": usual.learning_rate}
        return {
            "type": "object",
            "properties": {
                "max_epochs": {"type": "integer", "minimum": 1, "maximum": 1000, "default": usual.epochs},
                "learning_rate": rate,
                "seed": {"type": "integer", "minimum": 0, "maximum": 2**31, "default": usual.seed},
                "threads": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": cores,
                    "default": min(self.server.threads, cores),
                },
                "synthetic_ratio": {**ratio, "default": self.server.synthetic_ratio},
            },
        }

    def labelled(self, datastore: StudyDatastore) -> Labelled:
        """Finds what there is to learn from. Raises MedGANError `too_few_labels`."""
        spec = ModelSpec.load(self.registry.current(self.model).path)
        found, known = Labelled(), dicom.patients(self.server.data)
        made = set(datastore.synthetic_images())
        for study in datastore.get_labeled_images():
            case = Case(study, datastore.image_path(study), datastore.label_path(study, FINAL))
            reason = self._unusable(case, datastore.get_label_info(study, FINAL), spec)
            if reason:
                found.skipped.append(f"{study}: {reason}")
            elif study in made:
                found.synthetic.append(case)
            else:
                found.cases.append(case)
                found.patients[study] = patient_of(study, self.server.patient_pattern, known.get(study, ""))
        found.synthetic.sort(key=lambda case: -datastore.get_image_info(case.id).get("ts", 0))
        check_enough(len(found.cases), len(set(found.patients.values())), len(found.synthetic))
        return found

    def train(self, options: dict[str, Any], datastore: StudyDatastore, run: Run) -> tuple[Version, Verdict]:
        """Trains a candidate and measures it beside the version that serves."""
        serving = self.registry.current(self.model)
        serving.verify()
        found = self._material(datastore, serving, options["synthetic_ratio"])
        run.report(cases=found.counts(), skipped=found.skipped, epochs=options["max_epochs"])
        before = _measure(serving.path, found.measured, run)
        run.report(epoch=0, metric=before["validation"].dice_mean)
        with self.registry.staging(self.model, run.folder.name) as folder:
            run.stage("training")
            replay = find_cases(self.server.replay) if self.server.replay else []
            train = [*found.train, *found.synthetic]
            finetune(serving.path, folder, train, found.measured["validation"], replay, _settings(options), run)
            run.stage("validating")
            after = _measure(folder, found.measured, run)
            candidate = self.registry.add(self.model, folder, serving.name, run.folder.name)
            _note(candidate.path, after["validation"], len(found.synthetic))
        return self.judge(candidate, decide(self._compare(before, after)), run)

    def _compare(self, before: dict[str, Report], after: dict[str, Report]) -> list[Check]:
        limits = {"reference": (self.server.reference_tolerance, None)}
        usual = (self.server.dice_tolerance, self.server.label_tolerance)
        return [c for name in before for c in compare(name, before[name], after[name], *limits.get(name, usual))]

    def _material(self, datastore: StudyDatastore, serving: Version, ratio: float) -> Material:
        """What is learned from, what is measured on, and what was left out. Only acquired studies have a part."""
        found = self.labelled(datastore)
        parts = Splits(self.server.data / "splits", self.model).update(set(found.patients.values()))
        chosen: Cases = {"train": [], "validation": []}
        for case in found.cases:
            chosen[parts[found.patients[case.id]]].append(case)
        train = chosen.pop("train")
        check_enough(len(found.cases), 2 if train and chosen["validation"] else 1)
        if self.server.validation:
            chosen["trusted"] = find_cases(self.server.validation)
        reference = reference_cases(self.registry.shipped / self.model / serving.name)
        measured = {**chosen, **({"reference": reference} if reference else {})}
        own, copies = split_copies(found.synthetic, [case for cases in measured.values() for case in cases])
        synthetic, surplus = within_ratio(own, len(train), ratio)
        left_out = [f"{made.id}: {COPY.format(study=case.id)}" for made, case in copies]
        left_out += [f"{made.id}: {SURPLUS.format(ratio=ratio)}" for made in surplus]
        return Material(train, synthetic, measured, [*found.skipped, *left_out])

    def _unusable(self, case: Case, info: dict[str, Any], spec: ModelSpec) -> str:
        """Why a labelled study cannot be learned from; empty if it can."""
        if info.get("model") not in (None, "", self.model):
            return f"its label belongs to {info['model']}"
        try:
            image = check_file(case.image)
            check_scale(image, spec)
            read_label(case.label, spec.labels.values(), image)
        except VolumeError as error:
            return str(error)
        return ""


def _settings(options: dict[str, Any]) -> FinetuneConfig:
    return FinetuneConfig(
        epochs=options["max_epochs"],
        learning_rate=options["learning_rate"],
        seed=options["seed"],
        threads=options["threads"],
    )


def _measure(model: Path, measured: Cases, run: Run) -> dict[str, Report]:
    return {name: evaluate(model, cases, _Quiet(run)) for name, cases in measured.items()}


def _note(folder: Path, report: Report, synthetic: int) -> None:
    """Notes how many of the candidate's studies were synthetic, and its figures.

    Those are of this server's patients, not those that its parent was shipped with.
    """
    where = {
        "higher_is_better": True,
        "cases": len(report.per_case),
        "measured_on": "this server's validation patients",
    }
    values = {"dice_mean": report.dice_mean, **{f"dice_{label}": value for label, value in report.dice.items()}}
    metrics = {name: {"value": round(value, 4), **where} for name, value in values.items() if value == value}
    spec = ModelSpec.load(folder)
    finetuned = {**spec.training.get("finetuned", {}), "synthetic_cases": synthetic}
    spec = spec.replace(metrics=metrics, training={**spec.training, "finetuned": finetuned})
    spec.save(folder)
    write_card(spec, folder)


class _Quiet(Monitor):
    """Lets a measurement be cancelled, without its progress being taken for that of the training."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def check(self) -> None:
        """As the run's."""
        self._run.check()

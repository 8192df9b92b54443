"""Fine-tuning of a segmentation model on the studies that clinicians corrected."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from monailabel_app.datastore import StudyDatastore
from monailabel_app.finetune.base import FineTuning
from monailabel_app.finetune.gate import Check, Verdict, compare, decide
from monailabel_app.finetune.material import REFERENCE, VALIDATION, Cases, Gathering, Labelled, Material
from monailabel_app.finetune.runs import Run
from monailabel_app.options import Schema
from monailabel_app.registry import Version
from trainers.card import write_card
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import FinetuneConfig, Report, evaluate, finetune


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
                "unlabelled": {"type": "boolean", "default": True},
                "patience": {"type": "integer", "minimum": 0, "maximum": 1000, "default": usual.patience},
            },
        }

    def check(self, datastore: StudyDatastore) -> None:
        """One study that can be learned from is enough: to read all labels would take minutes."""
        self._gathering(datastore, self.registry.current(self.model)).labelled(1)

    def labelled(self, datastore: StudyDatastore) -> Labelled:
        """Finds what there is to learn from. Raises MedGANError `too_few_labels`."""
        return self._gathering(datastore, self.registry.current(self.model)).labelled()

    def train(self, options: dict[str, Any], datastore: StudyDatastore, run: Run) -> tuple[Version, Verdict]:
        """Trains a candidate and measures it beside the version that serves."""
        serving = self.registry.current(self.model)
        serving.verify()
        found = self._gathering(datastore, serving).material(options, run)
        run.report(cases=found.counts(), skipped=found.skipped, promise=found.promise, epochs=options["max_epochs"])
        before = _measure(serving.path, found.measured, run)
        run.report(epoch=0, metric=before[found.watched].dice_mean)
        with self.registry.staging(self.model, run.folder.name) as folder:
            run.stage("training")
            train = [*found.train, *found.synthetic, *found.generated]
            watched, settings = found.measured[found.watched], _settings(options)
            finetune(serving.path, folder, train, watched, found.replay, settings, run, run.work, found.unlabelled)
            run.stage("validating")
            after = _measure(folder, found.measured, run)
            candidate = self.registry.add(self.model, folder, serving.name, run.folder.name)
            _note(candidate.path, after[found.watched], found)
        return self.judge(candidate, decide(self._compare(before, after)), run)

    def _gathering(self, datastore: StudyDatastore, serving: Version) -> Gathering:
        return Gathering(self.model, self.server, self.registry, datastore, serving)

    def _compare(self, before: dict[str, Report], after: dict[str, Report]) -> list[Check]:
        """The gate's comparisons. Reference cases may lose a little, unless they are all that there is to go by."""
        usual = (self.server.dice_tolerance, self.server.label_tolerance)
        alone = (self.server.dice_tolerance, None)
        limits = {REFERENCE: (self.server.reference_tolerance, None) if len(before) > 1 else alone}
        return [c for name in before for c in compare(name, before[name], after[name], *limits.get(name, usual))]


def _settings(options: dict[str, Any]) -> FinetuneConfig:
    return FinetuneConfig(
        epochs=options["max_epochs"],
        patience=options["patience"],
        learning_rate=options["learning_rate"],
        seed=options["seed"],
        threads=options["threads"],
    )


def _measure(model: Path, measured: Cases, run: Run) -> dict[str, Report]:
    return {name: evaluate(model, cases, run.quiet()) for name, cases in measured.items()}


def _note(folder: Path, report: Report, found: Material) -> None:
    """Notes what else the candidate learned from, and its figures, not those that its parent was shipped with."""
    own = found.watched == VALIDATION
    where = {
        "higher_is_better": True,
        "cases": len(report.per_case),
        "measured_on": "this server's validation patients" if own else f"{found.watched} cases",
    }
    values = {"dice_mean": report.dice_mean, **{f"dice_{label}": value for label, value in report.dice.items()}}
    metrics = {name: {"value": round(value, 4), **where} for name, value in values.items() if value == value}
    spec = ModelSpec.load(folder)
    more = {"synthetic_cases": len(found.synthetic), "generated_cases": len(found.generated)}
    finetuned = {**spec.training.get("finetuned", {}), **more}
    spec = spec.replace(metrics=metrics, training={**spec.training, "finetuned": finetuned})
    spec.save(folder)
    write_card(spec, folder)

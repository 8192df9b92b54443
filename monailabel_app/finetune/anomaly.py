"""Adapting an anomaly model to the studies that clinicians marked as normal, measured with those marked as abnormal."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from monailabel_app import dicom
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.base import FineTuning
from monailabel_app.finetune.gate import Check, Verdict
from monailabel_app.finetune.runs import REMOVED, Run, hold, told_of
from monailabel_app.finetune.split import patient_of
from monailabel_app.options import Schema
from monailabel_app.registry import Version
from trainers.data.sets import Entry, Sample
from trainers.data.volumes import Limits, VolumeError, check_file, read_volume
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.adapt import FEWEST, RATE, Adapted, adapt
from trainers.tasks.anomaly.infer import sample_of

TOLERANCE = 0.02  # of AUROC, which a candidate may lose on a handful of studies
SYNTHETIC = "It is synthetic: no patient is as it is."


@dataclass(frozen=True)
class Marked:
    """Studies with a verdict, and those left out, with the reason."""

    normal: list[Entry] = field(default_factory=list)
    abnormal: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class AnomalyTraining(FineTuning):
    """Learns what is usual here and calibrates anew; the networks stay."""

    about = "Adapts {model} to the studies that were marked as normal, and calibrates it with them."

    def schema(self) -> Schema:
        """Nothing can be set."""
        return {"type": "object", "properties": {}}

    def labelled(self, datastore: StudyDatastore) -> Marked:
        """Finds marked studies. Raises MedGANError `too_few_labels`."""
        return self._marked(datastore)

    def _marked(self, datastore: StudyDatastore, run: Run | None = None) -> Marked:
        """As `labelled`; for a run the voxels are read too, and the files stay until it ends."""
        spec = ModelSpec.load(self.registry.current(self.model).path)
        if len(spec.inputs) > 1:
            message = f"{self.model} looks at {len(spec.inputs)} images at once; a study here is one."
            raise MedGANError("cannot_process", message, "Train it with python -m trainers train anomaly.")
        found, known = Marked(), dicom.patients(self.server.data)
        made = set(datastore.synthetic_images())
        for study, verdict in datastore.verdicts(self.model).items():
            path, reason = _looked_at(study, spec, datastore, run)
            if path is None or study in made:
                found.skipped.append(f"{study}: {SYNTHETIC if study in made else reason}")
                continue
            patient = patient_of(study, self.server.patient_pattern, known.get(study, ""))
            entry = Entry(study, patient, partial(_read, spec, path), files=(path,))
            (found.normal if verdict == "normal" else found.abnormal).append(entry)
        patients = len({entry.patient for entry in found.normal})
        if patients < FEWEST:
            count = f"{patients or 'No'} {'patient is' if patients == 1 else 'patients are'}"
            message = f"{count} marked as normal."
            raise MedGANError("too_few_labels", message, f"Mark studies of at least {FEWEST} patients as normal.")
        return found

    def train(self, options: dict[str, Any], datastore: StudyDatastore, run: Run) -> tuple[Version, Verdict]:
        """Makes a candidate; it serves unless it tells normal from abnormal studies worse than before."""
        serving = self.registry.current(self.model)
        serving.verify()
        found = self._marked(datastore, run)
        counts = {"train": len(found.normal), "validation": len(found.abnormal), "synthetic": 0}
        run.report(cases=counts, skipped=found.skipped, epochs=1)
        with self.registry.staging(self.model, run.folder.name) as folder:
            run.stage("training")
            result = adapt(serving.path, folder, found.normal, found.abnormal, run)
            run.stage("validating")
            candidate = self.registry.add(self.model, folder, serving.name, run.folder.name)
        return self.judge(candidate, verdict_on(result), run)


def verdict_on(result: Adapted) -> Verdict:
    """The gate's: without abnormal studies there is nothing to lose but wrong promises."""
    told = (
        f"Calibrated with {result.normal} normal patients; the earlier calibration called "
        f"{result.false_positives_before:.0%} of them unusual where it promised {RATE:.0%}."
    )
    checks = _checks(result)
    failed = [check for check in checks if not check.passed]
    if failed:
        return Verdict(False, f"The serving version stays: {failed[0].text()} (may fall by {TOLERANCE:g}).", checks)
    return Verdict(True, " ".join([told, *(f"{check.text()}." for check in checks)]), checks)


def _checks(result: Adapted) -> list[Check]:
    before, after = result.auroc_before, result.auroc_after
    if before is None or after is None:
        return []
    passed = after >= before - TOLERANCE
    return [Check("marked", "auroc", before, after, result.normal + result.abnormal, TOLERANCE, passed)]


def _read(spec: ModelSpec, path: Path) -> Sample:
    """A study as the model looks at it."""
    name = spec.inputs[0]["name"] if spec.inputs else "image"
    return sample_of(spec, {name: read_volume(path, _limits(spec))})[1]


def _limits(spec: ModelSpec) -> Limits:
    return Limits(pictures=spec.dimensions == 2)


def _looked_at(study: str, spec: ModelSpec, datastore: StudyDatastore, run: Run | None) -> tuple[Path | None, str]:
    """A study's file; None, with the reason, if it cannot be used."""
    try:
        path = datastore.image_path(study)
        if run is None:
            check_file(path, _limits(spec))
            return path, ""
        path = hold(path, run.held)
        read_volume(path, _limits(spec))
        return path, ""
    except FileNotFoundError:
        return None, REMOVED
    except (MedGANError, VolumeError) as error:
        return None, told_of(error)

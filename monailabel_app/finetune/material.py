"""What one training run of a segmentation model learns from, and what it is measured on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from monailabel_app import dicom
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import FINAL, StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.outlines import split_copies
from monailabel_app.finetune.runs import REMOVED, Run, hold, told_of
from monailabel_app.finetune.split import Part, Splits, check_enough, patient_of, usual_part, within_ratio
from monailabel_app.infers.segmentation import check_scale
from monailabel_app.registry import Registry, Version
from trainers.data.cases import find_cases, hash_fraction
from trainers.data.volumes import VolumeError, check_file, read_label, read_volume
from trainers.preprocess import CanonicalGrid, Preprocess
from trainers.spec import ModelNotAvailable, ModelSpec
from trainers.tasks.segmentation import Case, reference_cases
from trainers.tasks.segmentation.regions import is_small
from trainers.tasks.synthesis.generate import MANIFEST, generate

T = TypeVar("T")
Cases = dict[str, list[Case]]
VALIDATION, TRUSTED, REFERENCE = "validation", "trusted", "reference"
MOST_UNLABELLED = 24  # studies without labels in one run: reading more would take longer than it helps
MOST_GENERATED = 8
FEW = 16  # labelled studies from which on generated ones are not made
UNLABELLED = "unlabelled:"  # before the id of a study without a label, in what a run began with
PAIRS = "pairs"
EMPTY = "its label is empty"
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

    def only(self, studies: Collection[str]) -> Labelled:
        """Those that a run began with."""
        cases, synthetic = ([c for c in part if c.id in studies] for part in (self.cases, self.synthetic))
        patients = {case.id: self.patients[case.id] for case in cases}
        return Labelled(cases, patients, synthetic, self.skipped)


@dataclass(frozen=True)
class Material:
    """What one run works with.

    Attributes:
        train: acquired studies that are learned from. synthetic: those of the datastore mixed with them.
        generated: made for this run by a GAN. unlabelled: images of acquired studies without a label.
        replay: pairs learned before. measured: cases that are only measured on, by the check's name.
        skipped: as in Labelled.
    """

    train: list[Case]
    synthetic: list[Case]
    generated: list[Case]
    unlabelled: list[Path]
    replay: list[Case]
    measured: Cases
    skipped: list[str]

    @property
    def watched(self) -> str:
        """The check whose cases are measured after every epoch."""
        return next(iter(self.measured))

    @property
    def promise(self) -> str:
        """What this run can promise, and what not, for the clinician."""
        learned = f"Learns from {_count(len(self.train), 'labelled study', 'labelled studies')}."
        own = len(self.measured.get(VALIDATION, ()))
        if not own:
            return (
                f"{learned} None of your patients is left to measure on: the new version serves only if it is no worse "
                f"on the {self.watched} cases, and whether it is better on your studies is not known."
            )
        if own == 1:
            return f"{learned} It is measured on one of your studies, so that a gain or a loss may be chance."
        return f"{learned} It is measured on {own} of your studies that it does not learn from."

    def counts(self) -> dict[str, int]:
        """How many there are, for the run's progress."""
        own = self.measured.get(VALIDATION, [])
        parts = {"train": self.train, VALIDATION: own, "synthetic": self.synthetic, "generated": self.generated}
        return {**{name: len(cases) for name, cases in parts.items()}, "unlabelled": len(self.unlabelled)}


@dataclass(frozen=True)
class Gathering:
    """Gathers the material for runs of one model.

    Attributes:
        model: its name. server: settings. registry: versions. datastore: studies. serving: what is improved.
    """

    model: str
    server: ServerConfig
    registry: Registry
    datastore: StudyDatastore
    serving: Version

    def labelled(self, most: int = sys.maxsize, whole: bool = False) -> Labelled:
        """The studies with a final label that the model can learn from, the first `most` that were acquired.

        Args:
            most: of acquired ones.
            whole: whether the voxels of the images are read too, which takes longer.

        Raises:
            MedGANError: `too_few_labels`.
        """
        spec = ModelSpec.load(self.serving.path)
        found, known = Labelled(), dicom.patients(self.server.data)
        made = self._synthetic()
        for study in self.datastore.get_labeled_images():
            if len(found.cases) >= most:
                break
            case, reason = self._looked_at(study, spec, whole)
            if case is None:
                found.skipped.append(f"{study}: {reason}")
            elif study in made:
                found.synthetic.append(case)
            else:
                found.cases.append(case)
                found.patients[study] = self._patient(study, known)
        found.synthetic.sort(key=lambda case: -made[case.id])
        check_enough(len(found.cases), len(found.synthetic), found.skipped)
        return found

    def material(self, options: dict[str, Any], run: Run) -> Material:
        """What a run learns from and is measured on. Only acquired studies have a part.

        Args:
            options: of the run.
            run: notes what it began with, so that it goes on with that after an interruption.

        Raises:
            MedGANError: `too_few_labels`, if nothing can be learned from, or nothing is left to measure on.
        """
        found = self.labelled(whole=True)
        rest = self._unlabelled(found.skipped) if options["unlabelled"] else {}
        cases = [case.id for case in (*found.cases, *found.synthetic)]
        begun = run.begin(self.serving.name, [*cases, *(UNLABELLED + study for study in rest)])
        found, rest = _held(found.only(begun), {s: rest[s] for s in rest if UNLABELLED + s in begun}, run)
        check_enough(len(found.cases), len(found.synthetic), found.skipped)
        parts = Splits(self.server.data / "splits", self.model).update(set(found.patients.values()))
        train = [case for case in found.cases if parts[found.patients[case.id]] == "train"]
        measured = self._measured([case for case in found.cases if case not in train], found.skipped)
        if not (train and measured):
            hint = "Label a second patient: one is learned from, another is measured on."
            raise MedGANError("too_few_labels", "All labelled studies are of one patient.", hint)
        ratio = options["synthetic_ratio"]
        own, copies = split_copies(found.synthetic, [case for cases in measured.values() for case in cases])
        synthetic, surplus = within_ratio(own, len(train), ratio)
        left_out = [f"{made.id}: {COPY.format(study=case.id)}" for made, case in copies]
        left_out += [f"{made.id}: {SURPLUS.format(ratio=ratio)}" for made in surplus]
        unlabelled = self._learnable(rest, parts)
        generated = self._generated(int(ratio * len(train)) - len(synthetic), len(train), options["seed"], run)
        replay = self._readable(self.server.replay, found.skipped)
        return Material(train, synthetic, generated, unlabelled, replay, measured, [*found.skipped, *left_out])

    def _measured(self, own: list[Case], skipped: list[str]) -> Cases:
        """Cases to measure on, by check; checks without any are left out."""
        trusted = self._readable(self.server.validation, skipped)
        reference = reference_cases(self.registry.shipped / self.model / self.serving.name)
        found = {VALIDATION: own, TRUSTED: trusted, REFERENCE: reference}
        return {name: cases for name, cases in found.items() if cases}

    def _readable(self, folder: Path | None, skipped: list[str]) -> list[Case]:
        """The pairs of a folder of the administrator's that can be read; adds the others to `skipped`."""
        spec, found = ModelSpec.load(self.serving.path), find_cases(folder) if folder else []
        reasons = {case.id: _fault(case, spec, whole=True) for case in found}
        skipped += [f"{name}: {reason}" for name, reason in reasons.items() if reason]
        return [case for case in found if not reasons[case.id]]

    def _unlabelled(self, skipped: list[str]) -> dict[str, Path]:
        """Images of acquired studies without a final label that show little more than the organ, some by hash.

        Adds those that cannot be read to `skipped`.
        """
        spec, made = ModelSpec.load(self.serving.path), self._synthetic()
        found: dict[str, Path] = {}
        for study in sorted(self.datastore.get_unlabeled_images(), key=hash_fraction):
            if len(found) == MOST_UNLABELLED:
                break
            if study in made:
                continue
            try:
                path = self.datastore.image_path(study)
                if _is_crop(path, spec):
                    read_volume(path)
                    found[study] = path
            except (MedGANError, VolumeError) as error:
                skipped.append(f"{study}: {told_of(error)}")
        return found

    def _learnable(self, studies: Mapping[str, Path], parts: Mapping[str, Part]) -> list[Path]:
        """The images of patients who are not measured on, nor will be once they have a label, as far as is known."""
        known = dicom.patients(self.server.data)
        patients = {study: self._patient(study, known) for study in studies}
        return [p for s, p in studies.items() if parts.get(patients[s], usual_part(patients[s])) != VALIDATION]

    def _generated(self, allowed: int, acquired: int, seed: int, run: Run) -> list[Case]:
        """Image and label pairs by a GAN of the same labels, made for this run while there are few labelled studies."""
        count = min(MOST_GENERATED, allowed) if acquired < FEW else 0
        model = self._generator() if count > 0 else None
        if model is None:
            return []
        folder = run.work / PAIRS
        if not (folder / MANIFEST).is_file():  # none yet, or cut off
            shutil.rmtree(folder, ignore_errors=True)
            generate(model, count, folder, seed, monitor=run.quiet())
        return find_cases(folder)

    def _generator(self) -> Path | None:
        """The version that serves of a model that makes volumes with this model's labels."""
        labels = ModelSpec.load(self.serving.path).labels
        for name in self.registry.models():
            try:
                version = self.registry.current(name)
                spec = ModelSpec.load(version.path)
            except ModelNotAvailable:
                continue
            if spec.task == "synthesis" and spec.dimensions == 3 and spec.labels == labels:
                return version.path
        return None

    def _patient(self, study: str, known: dict[str, str]) -> str:
        return patient_of(study, self.server.patient_pattern, known.get(study, ""))

    def _synthetic(self) -> dict[str, float]:
        """When each synthetic study was stored, in seconds since 1970."""
        known: dict[str, float] = {}
        for study in self.datastore.synthetic_images():
            with suppress(MedGANError):
                known[study] = float(self.datastore.get_image_info(study).get("ts", 0))
        return known

    def _looked_at(self, study: str, spec: ModelSpec, whole: bool) -> tuple[Case | None, str]:
        """A labelled study; None, with the reason, if it cannot be learned from."""
        try:
            case = Case(study, self.datastore.image_path(study), self.datastore.label_path(study, FINAL))
            reason = self._unusable(case, spec, whole)
        except MedGANError as error:
            return None, told_of(error)
        return (None, reason) if reason else (case, "")

    def _unusable(self, case: Case, spec: ModelSpec, whole: bool) -> str:
        """Why a labelled study cannot be learned from; empty if it can."""
        info = self.datastore.get_label_info(case.id, FINAL)
        if info.get("model") not in (None, "", self.model):
            return f"its label belongs to {info['model']}"
        reason = _fault(case, spec, whole, learned=True)
        is_there = case.image.exists() and case.label.exists()
        return reason if is_there or not reason else REMOVED


def _fault(case: Case, spec: ModelSpec, whole: bool, learned: bool = False) -> str:
    """Why a pair cannot be used; empty if it can.

    Args:
        case: the pair.
        spec: the model's.
        whole: whether the image's voxels are read too.
        learned: whether it is also of no use if nothing is labelled, or the image is of quite another size.
    """
    try:
        image = read_volume(case.image) if whole else check_file(case.image)
        if learned:
            check_scale(image, spec)
        label = read_label(case.label, spec.labels.values(), image)
    except VolumeError as error:
        return str(error)
    return EMPTY if learned and not label.array.any() else ""


def _held(found: Labelled, rest: Mapping[str, Path], run: Run) -> tuple[Labelled, dict[str, Path]]:
    """The same studies, with files that stay until the run ends; those that went before are skipped."""
    shutil.rmtree(run.held, ignore_errors=True)
    skipped = list(found.skipped)

    def kept(study: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except FileNotFoundError:
            skipped.append(f"{study}: {REMOVED}")
            return None

    def held(case: Case) -> Case:
        return replace(case, image=hold(case.image, run.held), label=hold(case.label, run.held / "labels"))

    cases, synthetic = (
        [one for case in part if (one := kept(case.id, partial(held, case)))] for part in (found.cases, found.synthetic)
    )
    images = {study: kept(study, partial(hold, path, run.held)) for study, path in rest.items()}
    patients = {case.id: found.patients[case.id] for case in cases}
    return Labelled(cases, patients, synthetic, skipped), {study: path for study, path in images.items() if path}


def _is_crop(path: Path, spec: ModelSpec) -> bool:
    """Whether an image, by its header, shows little more than the organ. Raises VolumeError if it is no image."""
    settings, header = Preprocess(**spec.preprocess), check_file(path)
    try:
        check_scale(header, spec)
    except VolumeError:
        return False
    return is_small(CanonicalGrid(header, settings.spacing), settings)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"

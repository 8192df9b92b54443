"""What a run learns from besides the labels that were submitted, and what it can promise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from server_world import LABELS, MODEL, SHAPES, crop, make_studies, truth

from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.material import UNLABELLED, Gathering
from monailabel_app.finetune.runs import Run, new_run, read_run
from monailabel_app.finetune.segmentation import SegmentationTraining
from monailabel_app.finetune.split import usual_part
from monailabel_app.registry import Registry
from trainers.data.volumes import Volume, write_volume
from trainers.files import read_json

OPTIONS = {"synthetic_ratio": 1.0, "seed": 0, "unlabelled": True}


class Clinic:
    """A server's parts with six studies, the first few labelled."""

    def __init__(self, folder: Path, models: Path, labelled: int) -> None:
        self.config = ServerConfig(make_studies(folder / "studies", 6), folder / "data", models=models)
        self.config.prepare()
        for number in range(labelled):
            label = truth(crop(number))
            write_volume(self.config.studies / "labels/final" / f"study_{number}.nii.gz", label)
        self.registry = Registry(models, self.config.data / "models")
        self.store = StudyDatastore(self.config.studies, self.config.data / "backups")
        self.run = Run(self.config.runs / new_run(self.config.runs, MODEL), MODEL)

    def material(self, **options: Any) -> Any:
        serving = self.registry.current(MODEL)
        return Gathering(MODEL, self.config, self.registry, self.store, serving).material(
            {**OPTIONS, **options}, self.run
        )


def test_one_labelled_study_is_learned_from_and_says_what_it_cannot_promise(models: Path, tmp_path: Path) -> None:
    found = Clinic(tmp_path, models, 1).material()
    assert [case.id for case in found.train] == ["study_0"]
    assert found.watched == "reference" and len(found.measured["reference"]) == 2
    assert "None of your patients is left to measure on" in found.promise
    assert found.counts()["validation"] == 0


def test_a_patient_who_will_be_measured_on_is_not_learned_from_before(models: Path, tmp_path: Path) -> None:
    """Once study 0 has a label, its hash says that it is measured on: its image must be new to the models then."""
    clinic = Clinic(tmp_path, models, 0)
    for number in (1, 2):
        write_volume(clinic.config.studies / "labels/final" / f"study_{number}.nii.gz", truth(crop(number)))
    assert usual_part("study_0") == "validation"
    assert sorted(path.name for path in clinic.material().unlabelled) == [f"study_{n}.nii.gz" for n in (3, 4, 5)]


def test_more_are_measured_on_and_said(models: Path, tmp_path: Path) -> None:
    found = Clinic(tmp_path, models, 5).material()
    assert found.watched == "validation"
    held = len(found.measured["validation"])
    assert held >= 2 and len(found.train) == 5 - held
    assert f"measured on {held} of your studies" in found.promise


def test_without_anything_to_measure_on_it_is_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / MODEL / "v0001", tmp_path / "alone" / MODEL / "v0001")
    with pytest.raises(MedGANError, match="Label a second patient"):
        Clinic(tmp_path, tmp_path / "alone", 1).material()


def test_studies_without_labels_are_learned_from_too_but_not_large_ones(models: Path, tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, models, 3)
    image = crop(9)
    large = Volume(image.array.repeat(3, 0).repeat(3, 1), image.affine)
    write_volume(clinic.config.studies / "large.nii.gz", large)
    found = clinic.material()
    assert sorted(path.name for path in found.unlabelled) == [f"study_{n}.nii.gz" for n in (3, 4, 5)]
    begun = read_json(clinic.run.folder / "begun.json")["studies"]
    assert {f"{UNLABELLED}study_{n}" for n in (3, 4, 5)} < set(begun)
    write_volume(clinic.config.studies / "later.nii.gz", crop(10))
    assert len(clinic.material().unlabelled) == 3, "an interrupted run goes on with what it began with"
    assert clinic.material(unlabelled=False).unlabelled == []


def test_another_study_of_a_patient_who_is_measured_on_is_not_learned_from(models: Path, tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, models, 5)
    measured = clinic.material().measured["validation"][0].id
    write_volume(clinic.config.studies / f"{measured}_second.nii.gz", crop(11))
    object.__setattr__(clinic.config, "patient_pattern", r"study_\d")
    clinic.run = Run(clinic.config.runs / new_run(clinic.config.runs, MODEL), MODEL)
    assert f"{measured}_second.nii.gz" not in {path.name for path in clinic.material().unlabelled}


def test_a_gan_of_the_same_labels_adds_pairs_while_there_are_few(models: Path, tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, models, 3)
    assert clinic.registry.current(SHAPES), "the world has a model that fills label maps"
    found = clinic.material()
    assert len(found.generated) == len(found.train)
    assert all(case.image.is_file() and case.label.is_file() for case in found.generated)
    assert found.counts()["generated"] == len(found.train)
    assert Clinic(tmp_path / "none", models, 3).material(synthetic_ratio=0.0).generated == []
    assert LABELS


def test_a_whole_run_with_one_label_ends_with_a_verdict(models: Path, tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, models, 1)
    task = SegmentationTraining(MODEL, clinic.config, clinic.registry)
    run = clinic.run.folder.name
    task({"run": run, "server": os.getpid(), "max_epochs": 2, "learning_rate": 0.003}, clinic.store)
    progress = read_run(clinic.config.runs, run)
    assert progress is not None
    assert progress["state"] in ("promoted", "refused")
    assert "not known" in progress["promise"]
    (check,) = progress["verdict"]["checks"]
    assert (check["name"], check["limit"]) == ("reference", 0.0)
    assert progress["cases"]["unlabelled"] == 5
    assert not clinic.run.work.exists()

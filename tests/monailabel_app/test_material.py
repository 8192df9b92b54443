"""What a run learns from besides the labels that were submitted, and what it can promise."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_world import LABELS, MODEL, SHAPES, crop, make_studies, truth, write_case

from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.material import UNLABELLED, Gathering
from monailabel_app.finetune.runs import Run, new_run, read_run
from monailabel_app.finetune.segmentation import SegmentationTraining
from monailabel_app.finetune.split import usual_part
from monailabel_app.registry import Registry
from trainers.data.volumes import Volume, read_volume, write_volume
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


def spoil(path: Path) -> None:
    """Makes one voxel no number: the header stays as good as it was."""
    image = read_volume(path)
    image.array[3, 3, 3] = np.nan
    write_volume(path, image)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [spoil, cut_off])
def test_damaged_voxels_are_passed_over_and_said(models: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    clinic = Clinic(tmp_path, models, 3)
    for number in (1, 4):
        damage(clinic.config.studies / f"study_{number}.nii.gz")
    found = clinic.material()
    assert sorted(path.name for path in found.unlabelled) == ["study_3.nii.gz", "study_5.nii.gz"]
    used = {case.id for case in [*found.train, *found.measured["validation"]]}
    assert used == {"study_0", "study_2"}
    assert sorted(text.partition(":")[0] for text in found.skipped) == ["study_1", "study_4"]
    assert all(len(text) > len("study_1: ") for text in found.skipped)


def test_damaged_cases_of_the_administrator_are_passed_over(models: Path, tmp_path: Path) -> None:
    for name in ("trusted", "replay"):
        for number in (20, 21):
            write_case(tmp_path / name, number)
        spoil(tmp_path / name / "images" / "case_20.nii.gz")
    clinic = Clinic(tmp_path, models, 3)
    clinic.config = replace(clinic.config, validation=tmp_path / "trusted", replay=tmp_path / "replay")
    found = clinic.material()
    assert [case.id for case in found.measured["trusted"]] == ["case_21"] == [case.id for case in found.replay]
    assert sum(text.startswith("case_20: The image has 1 voxels") for text in found.skipped) == 2


def test_an_empty_label_is_passed_over(models: Path, tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, models, 3)
    label = read_volume(clinic.store.label_path("study_1", "final"))
    write_volume(clinic.store.label_path("study_1", "final"), label.like(np.zeros_like(label.array)))
    assert "study_1: its label is empty" in clinic.material().skipped


def test_a_label_or_image_that_goes_while_others_are_read_is_passed_over(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic, looked = Clinic(tmp_path, models, 4), Gathering._unusable
    clinics_others = StudyDatastore(clinic.config.studies, clinic.config.data / "backups")

    def slow(self: Gathering, *about: Any) -> str:
        if "study_2" in clinics_others.get_labeled_images():
            clinics_others.remove_label("study_2", "final")
            clinics_others.remove_image("study_3")
        return looked(self, *about)

    monkeypatch.setattr(Gathering, "_unusable", slow)
    found = clinic.material()
    assert found.skipped == ["study_2: removed meanwhile", "study_3: removed meanwhile"]


def test_what_is_removed_after_the_beginning_stays_for_the_run(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = Clinic(tmp_path, models, 4)
    for study in ("study_4", "study_0", "study_1"):
        found = clinic.material()
        clinic.store.remove_image(study)
        cases = [*found.train, *found.measured["validation"]]
        assert all(read_volume(path).shape for case in cases for path in (case.image, case.label))
        assert all(read_volume(path).shape for path in found.unlabelled)
    clinic.run.end("cancelled")
    assert not any(path.suffix == ".gz" for path in clinic.run.folder.rglob("*"))


def test_on_another_disk_the_files_are_copied(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    clinic = Clinic(tmp_path, models, 1)
    (case,) = clinic.material().train
    assert case.image.read_bytes() == clinic.store.image_path("study_0").read_bytes()
    assert clinic.run.held in case.image.parents


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

"""Synthetic studies at the server: marked for good, counted apart, never offered, learned from, never measured on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from server_world import MODEL, client_of, crop, error, truth

from monailabel_app.activelearning.scoring import StudyScoring
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune import segmentation as module
from monailabel_app.finetune.runs import new_run, read_run
from monailabel_app.finetune.segmentation import SegmentationTraining
from monailabel_app.finetune.split import Splits, within_ratio
from monailabel_app.registry import Registry
from monailabel_app.synthetic import Mark, mark_of
from trainers.data.cases import hash_fraction
from trainers.data.volumes import Limits, Volume, read_label, read_volume, same_grid, write_volume
from trainers.files import read_json

MARK = Mark("shape_synthesis", "v0001", 7, "large")
SMALL = Volume(np.arange(120, dtype=np.uint8).reshape(4, 5, 6), np.eye(4))
PICTURE = Volume(np.arange(20, dtype=np.uint8).reshape(4, 5, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    for name in ("real_1", "real_2"):
        write_volume(tmp_path / "studies" / f"{name}.nii.gz", SMALL)
    (tmp_path / "models").mkdir()
    return ServerConfig(tmp_path / "studies", tmp_path / "data", models=tmp_path / "models")


@pytest.fixture
def client(config: ServerConfig) -> TestClient:
    return client_of(config)


def upload(client: TestClient, path: Path, study: str, **params: Any) -> Any:
    with path.open("rb") as stream:
        return client.put(
            "/datastore/image",
            params={"image": study},
            data={"params": json.dumps(params)},
            files={"file": (path.name, stream)},
        )


def info(client: TestClient, study: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/datastore/image/info", params={"image": study}).json()
    return found


def add(client: TestClient, folder: Path, study: str = "made", volume: Volume = SMALL) -> None:
    write_volume(folder / "made.nrrd", volume, MARK.header())
    assert upload(client, folder / "made.nrrd", study).status_code == 200


def submit(client: TestClient, study: str, volume: Volume, folder: Path) -> Any:
    write_volume(folder / "label.nii.gz", volume)
    with (folder / "label.nii.gz").open("rb") as stream:
        files = {"label": ("label.nii.gz", stream)}
        return client.put("/datastore/label", params={"image": study, "tag": "final"}, files=files)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_file_that_says_so_is_marked_whatever_the_client_says(
    client: TestClient, tmp_path: Path, suffix: str
) -> None:
    write_volume(tmp_path / f"x{suffix}", SMALL, MARK.header())
    assert upload(client, tmp_path / f"x{suffix}", "made", synthetic=False).status_code == 200
    assert info(client, "made")["synthetic"] == MARK.info()
    other = {"model": "other", "version": "v0009", "seed": 1}
    assert upload(client, tmp_path / f"x{suffix}", "again", synthetic=other).status_code == 200
    assert info(client, "again")["synthetic"] == MARK.info()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_what_the_client_says_goes_into_the_file_too(
    client: TestClient, config: ServerConfig, tmp_path: Path, suffix: str
) -> None:
    write_volume(tmp_path / f"x{suffix}", SMALL)
    assert upload(client, tmp_path / f"x{suffix}", "made", synthetic=MARK.info(), note=1).status_code == 200
    assert (info(client, "made")["synthetic"], info(client, "made")["note"]) == (MARK.info(), 1)
    stored = config.studies / f"made{suffix}"
    assert mark_of(stored) == MARK
    assert np.array_equal(read_volume(stored).array, SMALL.array) and same_grid(read_volume(stored), SMALL)


def test_the_mark_outlives_the_index_and_files_put_there_by_hand_have_it(
    client: TestClient, config: ServerConfig, tmp_path: Path
) -> None:
    write_volume(tmp_path / "x.nii.gz", SMALL)
    upload(client, tmp_path / "x.nii.gz", "made", synthetic=MARK.info())
    write_volume(config.studies / "by_hand.nrrd", SMALL, MARK.header())
    (config.studies / "datastore_v2.json").write_text("damaged")
    again = StudyDatastore(config.studies, config.data / "backups")
    assert again.synthetic_images() == ["by_hand", "made"]
    assert again.get_image_info("made")["synthetic"] == MARK.info()


def test_a_client_can_neither_remove_nor_make_a_mark_afterwards(client: TestClient, tmp_path: Path) -> None:
    add(client, tmp_path)
    for study, value in (("made", None), ("made", False), ("made", {}), ("real_1", MARK.info())):
        data = {"info": json.dumps({"synthetic": value, "note": 2})}
        assert client.put("/datastore/image/info", params={"image": study}, data=data).status_code == 200
    assert (info(client, "made")["synthetic"], info(client, "made")["note"]) == (MARK.info(), 2)
    assert "synthetic" not in info(client, "real_1")


@pytest.mark.parametrize("value", [True, "yes", {"seed": -1}, {"seed": 1.5}, {"model": "../x"}, {"class": 1}])
def test_a_mark_that_cannot_be_one_stores_nothing(client: TestClient, tmp_path: Path, value: object) -> None:
    write_volume(tmp_path / "x.nrrd", SMALL)
    status, code = error(upload(client, tmp_path / "x.nrrd", "made", synthetic=value))
    assert (status, code in {"bad_option", "bad_name"}) == (400, True)
    assert error(client.get("/datastore/image", params={"image": "made"})) == (404, "unknown_image")


def test_it_takes_the_place_of_no_study(client: TestClient, config: ServerConfig, tmp_path: Path) -> None:
    before = (config.studies / "real_1.nii.gz").read_bytes()
    write_volume(tmp_path / "x.nii.gz", SMALL, MARK.header())
    assert error(upload(client, tmp_path / "x.nii.gz", "real_1", synthetic=MARK.info())) == (409, "conflict")
    assert (config.studies / "real_1.nii.gz").read_bytes() == before
    assert "synthetic" not in info(client, "real_1")


def test_it_is_counted_apart_and_told_among_the_pairs(client: TestClient, tmp_path: Path) -> None:
    add(client, tmp_path, "made_1")
    add(client, tmp_path, "made_2")
    for study in ("made_1", "real_1"):
        assert submit(client, study, SMALL, tmp_path).status_code == 200
    counts = client.get("/datastore/").json()
    assert counts == {
        "total": 2,
        "completed": 1,
        "label_tags": {"final": 1},
        "synthetic": {"total": 2, "completed": 1},
    }
    assert client.get("/info/").json()["datastore"] == counts
    pairs = client.get("/datastore/", params={"output": "train"}).json()
    assert [(p["image"], p.get("synthetic")) for p in pairs] == [("made_1.nrrd", True), ("real_1.nii.gz", None)]


@pytest.mark.parametrize("strategy", ["first", "random", "uncertainty"])
def test_it_is_never_offered_to_be_labelled(client: TestClient, tmp_path: Path, strategy: str) -> None:
    for number in range(4):
        add(client, tmp_path, f"a_made_{number}")
    path = f"/activelearning/{strategy}"
    given = [client.post(path, json={"client_id": f"reader-{n}"}).json().get("id") for n in range(2)]
    assert sorted(given) == ["real_1", "real_2"]
    assert error(client.post(path, json={"client_id": "reader-3"})) == (404, "nothing_to_label")


def test_it_is_not_scored(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(config.studies / "made.nrrd", SMALL, MARK.header())
    store = StudyDatastore(config.studies, config.data / "backups")
    version = SimpleNamespace(name="v0001")
    task = SimpleNamespace(
        model="m",
        spec=SimpleNamespace(labels={}),
        limits=Limits(),
        registry=SimpleNamespace(current=lambda _: version),
        cache=SimpleNamespace(get=lambda *_: None),
    )
    monkeypatch.setattr(StudyScoring, "_look", lambda *_: None)
    assert StudyScoring(task)({}, store) == {"scored": 2}  # type: ignore[arg-type]
    scored = [name for name in store.list_images() if "medgan_scores" in store.get_image_info(name)]
    assert scored == ["real_1", "real_2"]


def test_it_can_be_removed_and_its_id_given_to_an_acquired_study(client: TestClient, tmp_path: Path) -> None:
    add(client, tmp_path)
    submit(client, "made", SMALL, tmp_path)
    assert client.delete("/datastore/image", params={"id": "made"}).status_code == 200
    assert client.get("/datastore/").json()["synthetic"] == {"total": 0, "completed": 0}
    write_volume(tmp_path / "x.nrrd", SMALL)
    assert upload(client, tmp_path / "x.nrrd", "made").status_code == 200
    assert "synthetic" not in info(client, "made")
    assert client.get("/datastore/").json()["total"] == 3


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_picture_and_its_label(client: TestClient, config: ServerConfig, tmp_path: Path, suffix: str) -> None:
    write_volume(tmp_path / f"x{suffix}", PICTURE, MARK.header())
    assert upload(client, tmp_path / f"x{suffix}", "picture").status_code == 200
    label = PICTURE.like((PICTURE.array > 9).astype(np.uint8))
    assert submit(client, "picture", label, tmp_path).json()["medgan"]["voxels"] == {"1": 10}
    stored = read_label(config.studies / "labels" / "final" / "picture.nii.gz", [1], PICTURE)
    assert np.array_equal(stored.array, label.array)
    assert error(submit(client, "picture", SMALL, tmp_path)) == (422, "wrong_geometry")
    line = Volume(np.zeros((4, 1, 1), np.uint8), np.eye(4))
    nib.Nifti1Image(line.array, line.affine).to_filename(tmp_path / "line.nii.gz")
    assert error(upload(client, tmp_path / "line.nii.gz", "line")) == (422, "cannot_process")


# Fine-tuning: as a server does it, but for the training itself, which only listens.


ELSEWHERE = np.eye(4)
ELSEWHERE[:3, 3] = 500  # mm
HALF = np.diag([2.0, 2.0, 2.0, 1.0])  # every second voxel


def write_pair(studies: Path, name: str, image: Volume, header: dict[str, str] | None = None) -> None:
    write_volume(studies / f"{name}.nrrd", image, header)
    write_volume(studies / "labels/final" / f"{name}.nii.gz", truth(image))


def clinic(
    folder: Path, models: Path, real: int, made: int, **more: Any
) -> tuple[SegmentationTraining, StudyDatastore]:
    """Labelled acquired studies `real_N` and labelled synthetic ones `made_N`, of the same look but elsewhere."""
    shutil.copytree(models / MODEL / "v0001", folder / "shipped" / MODEL / "v0001")
    config = ServerConfig(folder / "clinic", folder / "clinic" / ".medgan", models=folder / "shipped", **more)
    config.studies.mkdir()
    config.prepare()
    for number in range(real):
        write_pair(config.studies, f"real_{number}", crop(number))
    for number in range(made):
        image = crop(number)
        write_pair(config.studies, f"made_{number}", Volume(image.array, ELSEWHERE @ image.affine), MARK.header())
    store = StudyDatastore(config.studies, config.data / "backups")
    return SegmentationTraining(MODEL, config, Registry(folder / "shipped", config.data / "models")), store


class Listener:
    """In place of the training and of the measuring: notes which studies they are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.train: set[str] = set()
        self.measured: set[str] = set()
        self._evaluate = module.evaluate
        monkeypatch.setattr(module, "finetune", self.finetune)
        monkeypatch.setattr(module, "evaluate", self.evaluate)

    def finetune(self, base: Path, out: Path, train: Any, validation: Any, *_: Any) -> None:
        self.train |= {case.id for case in train}
        self.measured |= {case.id for case in validation}
        shutil.copytree(base, out, dirs_exist_ok=True)

    def evaluate(self, model: Path, cases: Any, *rest: Any) -> Any:
        self.measured |= {case.id for case in cases}
        return self._evaluate(model, cases, *rest)


def train(task: SegmentationTraining, store: StudyDatastore, **options: Any) -> dict[str, Any]:
    run = new_run(task.server.runs, MODEL)
    task({"run": run, "server": os.getpid(), "max_epochs": 1, **options}, store)
    progress = read_run(task.server.runs, run)
    assert progress is not None
    return progress


def test_it_is_learned_from_and_never_measured_on(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that by hash would be measured on are among the synthetic ones, or this would show nothing."""
    assert min(hash_fraction(f"made_{n}") for n in range(12)) < 0.2
    heard = Listener(monkeypatch)
    task, store = clinic(tmp_path, models, real=4, made=12, synthetic_ratio=10.0)
    progress = train(task, store)
    made = {f"made_{n}" for n in range(12)}
    assert progress["cases"] == {"train": 2, "validation": 2, "synthetic": 12, "generated": 0, "unlabelled": 0}
    assert made < heard.train and len(heard.train - made) == 2
    assert not heard.measured & made
    assert not heard.measured & heard.train
    assert set(read_json(task.server.data / "splits" / f"{MODEL}.json")["patients"]) == {f"real_{n}" for n in range(4)}
    version = task.registry.get(MODEL, progress["verdict"]["version"])
    assert "synthetic cases: 12" in (version.path / "card.md").read_text(encoding="utf-8")


def test_its_share_is_limited_and_the_newest_come_first(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Listener(monkeypatch)
    task, store = clinic(tmp_path, models, real=4, made=4)
    for name, seconds in (("made_0", 30), ("made_1", 10), ("made_2", 40), ("made_3", 20)):
        store.update_image_info(name, {"ts": seconds})
    progress = train(task, store)
    assert progress["cases"] == {"train": 2, "validation": 2, "synthetic": 2, "generated": 0, "unlabelled": 0}
    assert {name for name in heard.train if name.startswith("made")} == {"made_0", "made_2"}
    assert [line.split(":")[0] for line in progress["skipped"]] == ["made_3", "made_1"]
    assert "synthetic" in progress["skipped"][0] and "1" in progress["skipped"][0]
    heard.train.clear()
    assert train(task, store, synthetic_ratio=0)["cases"]["synthetic"] == 0
    assert not [name for name in heard.train if name.startswith("made")]
    with pytest.raises(MedGANError, match="synthetic_ratio"):
        train(task, store, synthetic_ratio=1.5)


def test_one_that_fills_the_outline_of_a_patient_who_is_measured_on_is_left_out(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Listener(monkeypatch)
    task, store = clinic(tmp_path, models, real=4, made=1)
    parts = Splits(task.server.data / "splits", MODEL).update({f"real_{n}" for n in range(4)})
    measured = {name for name, part in parts.items() if part == "validation"}
    image = crop(int(min(measured)[-1]))
    noise = np.random.default_rng(0).normal(300, 9, image.shape).astype(np.float32)
    coarse = truth(image).array[::2, ::2, ::2]
    write_volume(task.server.studies / "copy.nrrd", Volume(noise[::2, ::2, ::2], image.affine @ HALF), MARK.header())
    write_volume(task.server.studies / "labels/final/copy.nii.gz", Volume(coarse, image.affine @ HALF))
    progress = train(task, store)
    assert "copy" not in heard.train and "made_0" in heard.train
    told = [f"copy: It is synthetic and has the outline of {name}, which is measured on." for name in measured]
    assert len(progress["skipped"]) == 1 and progress["skipped"][0] in told


def test_it_does_not_stand_for_patients(models: Path, tmp_path: Path) -> None:
    task, store = clinic(tmp_path, models, real=0, made=5)
    with pytest.raises(MedGANError, match="5") as caught:
        task.labelled(store)
    assert caught.value.code == "too_few_labels"
    assert "Synthetic ones do not count" in caught.value.message


def test_one_whose_label_belongs_to_another_model_is_left_out(models: Path, tmp_path: Path) -> None:
    task, store = clinic(tmp_path, models, real=3, made=2)
    store.update_label_info("made_0", "final", {"model": "another_model"})
    found = task.labelled(store)
    assert [case.id for case in found.synthetic] == ["made_1"]
    assert [line.split(":")[0] for line in found.skipped] == ["made_0"]


@pytest.mark.parametrize(
    ("acquired", "ratio", "kept"), [(3, 1.0, 3), (3, 0.5, 1), (3, 1 / 3, 1), (10, 0.3, 3), (0, 9.0, 0), (9, 9.0, 5)]
)
def test_the_ratio(acquired: int, ratio: float, kept: int) -> None:
    made = list("abcde")
    assert within_ratio(made, acquired, ratio) == (made[:kept], made[kept:])

"""The stock app and this server's tasks make the same of a volume, so that their times can be compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from monailabel.interfaces.tasks.infer_v2 import InferType

from benchmarks import beside_stock, stock_world
from monailabel_app import infers
from monailabel_app.infers.result import Part, write_result
from trainers.data.volumes import Volume, read_volume, write_volume

STOCK = Path(beside_stock.__file__).parent / "stock_app" / "main.py"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coarse body, and models that learned on it for a moment."""
    folder = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    patch.setattr(stock_world, "SHAPE", (120, 90, 50))
    patch.setattr(stock_world, "SPACING", (2.8, 2.8, 2.8))
    stock_world.make_models(folder / "models")
    stock_world.make_study(folder / "studies")
    patch.undo()
    return folder


@pytest.mark.parametrize("task", beside_stock.TASKS[:2], ids=lambda task: task.model)
def test_both_make_the_same(world: Path, tmp_path: Path, task: beside_stock.Task) -> None:
    spec = importlib.util.spec_from_file_location("stock_app", STOCK)
    assert spec and spec.loader
    stock_app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stock_app)
    study, folder = world / "studies" / "large.nii.gz", world / "models" / task.model / "v0001"
    kind = {"label": (stock_app.Label, InferType.SEGMENTATION), "image": (stock_app.Image, InferType.OTHERS)}[
        task.model
    ]
    asked = {"image": str(study), "result_extension": ".nii.gz", "result_dtype": task.dtype, "device": "cpu"}
    stock = Path(kind[0](folder, kind[1])(asked)[0])
    loaded, image = infers.load(folder), read_volume(study)
    made = (
        loaded(image, test_time_augmentation=False).label
        if task.model == "label"
        else loaded.reconstruct({"image": image}, test_time_augmentation=False).image
    )
    about = {"model": "m", "version": "v0001"}
    ours = write_result([Part(task.model, "volume", made)], about, ".nii.gz", tmp_path, near=True)
    beside_stock._check_same(task, {"stock": stock, "ours": ours})
    if task.model == "label":
        assert np.count_nonzero(read_volume(ours).array) > 500
    stock.unlink()


def test_results_that_differ_are_noticed(tmp_path: Path) -> None:
    files = {}
    for name, shift in (("stock", 0), ("ours", 3)):
        array = np.zeros((20, 20, 20), np.uint8)
        array[5 + shift : 12 + shift, 5:12, 5:12] = 1
        files[name] = tmp_path / f"{name}.nii.gz"
        write_volume(files[name], Volume(array, np.eye(4)))
    with pytest.raises(ValueError, match="agree by a Dice"):
        beside_stock._check_same(beside_stock.TASKS[0], files)

"""Data with verdicts, figures of all methods, simulated lesions, adaptation to a site, and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.trainers.anomaly.world import pictures, recipe, volumes, write_folder
from trainers.__main__ import app
from trainers.data.cases import CasesError
from trainers.data.sets import Entry
from trainers.data.splits import split_data
from trainers.data.volumes import Volume, VolumeError, write_volume
from trainers.recipes import ANOMALY_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.adapt import adapt
from trainers.tasks.anomaly.data import healthy, open_examined
from trainers.tasks.anomaly.evaluate import evaluate
from trainers.tasks.anomaly.infer import Detector
from trainers.tasks.anomaly.lesions import measure_lesions, with_lesion
from trainers.tasks.anomaly.methods import METHODS
from trainers.tasks.anomaly.train import train, unseen


def parts(number: int) -> tuple[list[Entry], list[Entry]]:
    """Healthy and ill entries that no model of these tests knows."""
    entries = pictures(200, 40).entries
    return entries[100 : 100 + number], entries[200 + 20 :]


def test_ill_images_of_patients_who_were_learned_from_are_not_measured_on() -> None:
    data = pictures(40, 8)
    good = healthy(data, "normal")
    split = split_data(good, 10, 10)
    owners = [split.train[0].patient, split.validation[0].patient, split.test[0].patient]
    ill = [e if n >= 3 else replace(e, patient=owners[n]) for n, e in enumerate(data.entries[40:])]
    mixed = replace(data, entries=[*data.entries[:40], *ill])
    assert unseen(mixed, good, split) == ill[2:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """normal/, abnormal/ and masks/."""
    root = tmp_path / "data"
    write_folder(root / "normal", range(600, 610))
    write_folder(root / "abnormal", range(700, 706), ill=True)
    (root / "masks").mkdir()
    mask = np.zeros((20, 16), np.uint8)
    mask[6:14, 4:12] = 255
    for seed in range(700, 704):
        Image.fromarray(mask.T).save(root / "masks" / f"p{seed}.png")
    return root


def test_a_folder_with_masks(folder: Path) -> None:
    found = open_examined(folder)
    assert (len(found.normal), len(found.abnormal)) == (10, 6) and found.marked == {f"p{n}" for n in range(700, 704)}
    by_id = {entry.id: entry.read() for entry in found.abnormal}
    assert by_id["p700"].label is not None and by_id["p700"].label.sum() == 64 and by_id["p705"].label is None


def turned(mask: Volume, order: list[int], flip: int) -> Volume:
    """The same mask with its axes in another order and one of them reversed."""
    affine = mask.affine[:, [*order, 3]].copy()
    array = np.flip(mask.array.transpose(order), flip)
    affine[:3, 3] += affine[:3, flip] * (array.shape[flip] - 1)
    affine[:3, flip] *= -1
    return Volume(np.ascontiguousarray(array), affine)


def test_masks_of_volumes_are_taken_where_they_lie(tmp_path: Path) -> None:
    axes = np.array([[0, -1.0, 0, 9], [0.9, 0, 0.6, -4], [-0.3, 0, 1.8, 7], [0, 0, 0, 1]])
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[1:3, 2:6, 5] = 1
    for part in ("normal", "abnormal", "masks"):
        (tmp_path / part).mkdir()
    for name in ("normal/a", "normal/b", "abnormal/c", "abnormal/d"):
        write_volume(tmp_path / f"{name}.nii.gz", Volume(np.random.default_rng(0).random(mask.shape), axes))
    for name, order, flip in (("c", [0, 1, 2], 0), ("d", [2, 0, 1], 2)):
        write_volume(tmp_path / f"masks/{name}.nii.gz", turned(Volume(mask, axes), order, flip))
    for entry in open_examined(tmp_path).abnormal:
        np.testing.assert_array_equal(entry.read().label, mask)
    far = axes.copy()
    far[0, 3] += 100
    write_volume(tmp_path / "masks/d.nii.gz", Volume(mask, far))
    with pytest.raises(VolumeError, match=r"d\.nii\.gz: It is not on the grid of its image"):
        open_examined(tmp_path).abnormal[1].read()


def test_masks_that_fit_no_image_are_refused(folder: Path) -> None:
    (folder / "masks" / "p700.png").rename(folder / "masks" / "other.png")
    with pytest.raises(CasesError, match="has other, but there is no abnormal image of that name"):
        open_examined(folder)
    (folder / "masks" / "other.png").unlink()
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "masks" / "p701.png")
    with pytest.raises(VolumeError, match=r"p701.png has \(5, 5\) voxels"):
        next(e for e in open_examined(folder).abnormal if e.id == "p701").read()


def test_an_npz_with_classes_and_one_in_each_folder(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 28, 28), dtype=np.uint8)
    labels = np.array([0, 1] * 6)[:, None]
    arrays = {f"{p}_{k}": v for p in ("train", "val", "test") for k, v in (("images", images), ("labels", labels))}
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    for part in ("normal", "abnormal"):
        (tmp_path / "both" / part).mkdir(parents=True)
        np.savez(tmp_path / "both" / part / "pneumoniamnist.npz", **arrays)
    found = open_examined(tmp_path / "pneumoniamnist.npz")
    assert (len(found.normal), len(found.abnormal)) == (18, 18)
    assert not {e.id for e in found.normal} & {e.id for e in found.abnormal}
    both = open_examined(tmp_path / "both")
    assert (len(both.normal), len(both.abnormal)) == (36, 36)


def test_the_class_of_healthy_images_is_asked_for_when_it_has_no_usual_name() -> None:
    data = replace(pictures(4, 2), classes=("fine", "ill"))
    with pytest.raises(CasesError, match=r"Its classes: fine, ill\. Name one with --normal"):
        healthy(data)
    assert [e.id for e in healthy(data, "Fine").entries] == ["n000", "n001", "n002", "n003"]


def test_all_methods_are_measured_side_by_side(model: Path, folder: Path) -> None:
    found = open_examined(folder)
    report = evaluate(model, found.normal, found.abnormal, replicates=50)
    assert set(report["methods"]) == set(METHODS) and (report["normal"], report["abnormal"], report["marked"]) == (
        10,
        6,
        4,
    )
    own = report["methods"]["medgan"]
    assert own["images"]["auroc"]["value"] > 0.9 and own["voxels"]["auroc"]["value"] > 0.8
    for method in report["methods"].values():
        for figure in (*method["images"].values(), method["voxels"]["best_dice"], method["voxels"]["calibrated_dice"]):
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert all(row["promised"] in (0.1, 0.2) for row in method["calibration"])  # 12 cannot promise 0.05
    assert json.loads(json.dumps(report)) == report


def test_where_a_mask_lies_does_not_change_what_is_looked_at(volume_model: Path) -> None:
    """Training images are cut around their labels; a mask of what is abnormal must not give its place away."""
    sample, label = volumes(1).entries[0].read(), np.zeros((12, 16, 12), np.uint8)
    label[1:4, 1:4, 1:4] = 1
    large = replace(sample, image=np.pad(sample.image, ((0, 0), (4, 4), (4, 4), (4, 4)), mode="edge"))
    detector = Detector(volume_model)
    ((plain, one),) = detector.look([large])
    ((marked, other),) = detector.look([replace(large, label=np.pad(label, 4))])
    assert np.array_equal(plain, marked) and one == other


def test_lesions_are_where_they_are_said_to_be_and_the_same_each_time() -> None:
    entry = volumes(1).entries[0]
    made = with_lesion(entry, "blob", 2.0, 2.0)
    one, two, plain = made.read(), made.read(), entry.read()
    assert np.array_equal(one.image, two.image) and one.label is not None and one.label.any()
    change = np.abs(one.image - plain.image)[0]
    assert change[one.label > 0].mean() > 5 * change[one.label == 0].mean()


def test_lesions_by_kind_size_and_contrast(volume_model: Path) -> None:
    rows = measure_lesions(volume_model, volumes().entries[:3], radii=(2.0,), contrasts=(2.0,))
    assert [row["kind"] for row in rows] == ["all", "blob", "ring", "texture"]
    assert set(rows[1]["methods"]) == {"medgan", "nearest-features", "intensity"} and rows[0]["images"] == 9


def test_an_adapted_model_keeps_its_promise_at_another_site(model: Path, tmp_path: Path) -> None:
    """Its images are sharper: the shipped calibration calls them unusual."""
    normal, ill = parts(40)
    elsewhere = [[replace(e, read=Elsewhere(e)) for e in group] for group in (normal, ill)]
    seen, unseen = elsewhere[0][:30], elsewhere[0][30:]
    result = adapt(model, tmp_path / "here", seen, elsewhere[1])
    assert result.false_positives_before > 0.5 and result.normal == 30
    adapted = Detector(tmp_path / "here")
    scores, _ = adapted.calibrations()
    looked = [score for _, score in adapted.look([entry.read() for entry in unseen])]
    assert len(scores.scores) == 30 and np.mean(np.array(looked) > scores.threshold(0.1)) < 0.5
    spec = ModelSpec.load(tmp_path / "here")
    assert spec.training["finetuned"]["normal"] == 30 and spec.metrics["auroc"]["value"] == result.auroc_after
    with pytest.raises(CasesError, match="9 patients are marked as normal; at least 10"):
        adapt(model, tmp_path / "few", seen[:9])


class Elsewhere:
    """Another scanner: more noise."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __call__(self):
        sample = self.entry.read()
        noise = np.random.default_rng(len(self.entry.id) + int(self.entry.id[1:])).normal(0, 25, sample.image.shape)
        return replace(sample, image=(sample.image + noise).clip(0, 255).astype(np.float32))


def test_what_a_trained_folder_has(model: Path) -> None:
    names = {path.name for path in model.iterdir()}
    assert {"model.safetensors", "f-anogan.safetensors", "spec.json", "card.md", "figures.json", "samples.png"} <= names
    assert "stages" not in names
    card = (model / "card.md").read_text()
    assert "auroc: " in card and "f-anogan" in card and "promised 0.1, found" in card
    spec = ModelSpec.load(model)
    assert set(spec.calibration) == set(METHODS) and len(spec.training["patients"]["validation"]) == 12


def test_a_stopped_training_goes_on_from_its_finished_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    from trainers.tasks.anomaly import train as module

    whole = module._Trainer._fanogan

    def stopped(self, config):
        called.append("f-anogan")
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Trainer, "_fanogan", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(steps=2), pictures(), tmp_path / "m")
    before = (tmp_path / "m" / "stages" / "judge.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(module._Trainer, "_fanogan", whole)
    fits = []
    real = module.trained
    monkeypatch.setattr(module, "trained", lambda name, *a: fits.append(name) or real(name, *a))
    judge = []
    monkeypatch.setattr("trainers.stages.fit", _counting(judge))
    assert train(recipe(steps=2), pictures(), tmp_path / "m") is not None
    assert before and fits == ["medgan", "gan", "mapping"] and judge == ["SynthesisTask", "MappingTask"]


def _counting(names: list[str]):
    from trainers.fit import fit

    def counted(task, *more):
        names.append(type(task).__name__)
        return fit(task, *more)

    return counted


def test_every_recipe_describes_networks_that_fit_its_images() -> None:
    import torch

    from trainers.networks import build
    from trainers.tasks.anomaly.methods.fanogan import FAnoGAN
    from trainers.tasks.anomaly.restoring import unet

    for one in ANOMALY_RECIPES.values():
        size, channels = one.preprocess.window, len(one.spec.inputs)
        image = torch.zeros(1, channels, *size)
        for network in unet(len(size), channels, one.restoring).values():
            assert build(network)(image).shape[2:] == image.shape[2:], one.spec.name
        if one.reference:
            method = FAnoGAN(**one.reference.described(size, channels)).eval()
            with torch.no_grad():
                assert method(image).heat.shape == (1, 1, *size), one.spec.name


def test_the_command_line(model: Path, folder: Path, tmp_path: Path) -> None:
    run = CliRunner()
    json_file = tmp_path / "figures.json"
    told = run.invoke(
        app, ["evaluate", "anomaly", "--model", str(model), "--data", str(folder), "--json", str(json_file)]
    )
    assert told.exit_code == 0, told.output
    assert json.loads(json_file.read_text())["methods"]["f-anogan"]["images"]["auroc"]["value"] >= 0
    wrong = run.invoke(app, ["evaluate", "anomaly", "--model", "hippocampus_segmentation", "--data", str(folder)])
    assert wrong.exit_code == 2
    missing = run.invoke(app, ["evaluate", "anomaly", "--model", str(model), "--data", str(folder / "normal")])
    assert missing.exit_code == 2
    unknown = run.invoke(
        app, ["train", "anomaly", "--model", "nothing", "--data", str(folder), "--out", str(tmp_path / "x")]
    )
    assert unknown.exit_code == 2

"""A whole training: what it writes, what it keeps when it is run again, what it refuses before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainers.synthesis.conftest import PICTURE, TINY_ENCODER, VOLUME, organ, pictures_set, volumes_set
from trainers.card import write_card
from trainers.data.cases import CasesError
from trainers.data.sets import DataSet, Entry, Sample
from trainers.fit import CHECKPOINT_FILE, CheckpointMismatch
from trainers.known import all_known, fingerprint, hashes_of, may_be_known, split_known
from trainers.monitor import Cancelled, Monitor
from trainers.spec import CARD_FILE, WEIGHTS_FILE, ModelSpec
from trainers.stages import STAGES_FILE
from trainers.task import FitConfig
from trainers.tasks.synthesis import SynthesisRecipe, Synthesizer, evaluate, recipe_for, with_preset
from trainers.tasks.synthesis.evaluate import FIGURES_FILE
from trainers.tasks.synthesis.grid import GRID_FILE
from trainers.tasks.synthesis.recipe import MaskConfig
from trainers.tasks.synthesis.train import SPLIT_FILE, train

LOOP = FitConfig(4, 8, weight_decay=0.0, precision="fp32", ema=0.5, device="cpu")


pytestmark = pytest.mark.usefixtures("few_images")


def flat_recipe(data: DataSet, preset: str = "default") -> SynthesisRecipe:
    recipe = recipe_for(data, preset, PICTURE)
    small = replace(recipe, generator=(8, 4), discriminator=(4, 8), latent=6, encoder=TINY_ENCODER, fit=LOOP)
    return with_preset(replace(small, validation=8, test=24), preset)


def solid_recipe(data: DataSet) -> SynthesisRecipe:
    recipe = recipe_for(data, window=VOLUME, masks=True)
    masks = MaskConfig((8, 4), (4, 8), 4, fit=replace(LOOP, steps=3, batch_size=4))
    small = replace(recipe, generator=(8, 4), discriminator=(4, 8), latent=6, encoder=TINY_ENCODER, fit=LOOP)
    return with_preset(replace(small, masks=masks, validation=4, test=20), "default", batch_size=2)


class Stages(Monitor):
    """Notes the stages; may cancel at a step of one of them."""

    def __init__(self, stop: str = "", step: int = 0) -> None:
        self.heard: list[str] = []
        self.stop, self.step, self.at = stop, step, -1

    def report(self, **state: Any) -> None:
        if "stage" in state:
            self.heard.append(state["stage"])
        self.at = state.get("step", -1)

    def check(self) -> None:
        if self.stop and self.heard[-1] == self.stop and self.at == self.step:
            raise Cancelled


def no_nan(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def strict(path: Path) -> Any:
    return json.loads(path.read_text(), parse_constant=no_nan)


def test_pictures_with_classes(tmp_path: Path) -> None:
    data = pictures_set(80)
    monitor = Stages()
    report = train(flat_recipe(data), data, tmp_path, "python -m trainers train", monitor)
    assert {p.name for p in tmp_path.iterdir()} == {
        WEIGHTS_FILE, "encoder.safetensors", "spec.json", CARD_FILE, FIGURES_FILE, GRID_FILE, SPLIT_FILE,
        STAGES_FILE,
    }  # fmt: skip
    assert monitor.heard == ["reading images", "encoder of features", "images", "measuring"]
    spec = ModelSpec.load(tmp_path)
    parts = strict(tmp_path / SPLIT_FILE)
    assert {p: len(spec.training["patients"][p]) for p in ("train", "validation", "test")} == {
        "train": 48, "validation": 8, "test": 24
    }  # fmt: skip
    assert sorted(parts["test"]) == spec.training["patients"]["test"]
    assert sum(spec.training["class_share"].values()) == pytest.approx(1, abs=1e-3)
    assert spec.training["validation_kid_by_step"][-1][0] == 4
    strict(tmp_path / "spec.json")
    assert report is not None and strict(tmp_path / FIGURES_FILE) == json.loads(json.dumps(report))
    assert set(report) >= {"kid", "precision", "recall", "density", "coverage", "privacy", "notes", "seconds_per_image"}
    card = (tmp_path / CARD_FILE).read_text()
    for words in ("kid", "precision", "recall", "Privacy audit", "membership", "- left\n- right", "48 for train"):
        assert words in card
    assert f"![Samples]({GRID_FILE})" in card and (tmp_path / GRID_FILE).stat().st_size > 2000
    assert "p1" not in card.replace("python", "").split()  # whose patients: only in spec.json
    for name in ("kid", "membership_auroc_features", "memorisation_ratio_grey_values"):
        assert np.isfinite(spec.metrics[name]["value"]) and "24 made images" in spec.metrics[name]["note"]
    (sample,) = Synthesizer(tmp_path)(1, 0, "right")
    assert sample.target == "right" and sample.image.shape == (*PICTURE, 1)


def test_volumes_with_masks_and_a_second_run(tmp_path: Path) -> None:
    data = volumes_set(44)
    recipe = solid_recipe(data)
    monitor = Stages("images", 2)
    with pytest.raises(Cancelled):
        train(recipe, data, tmp_path, monitor=monitor)
    assert monitor.heard == ["reading images", "encoder of features", "label maps", "images"]
    assert (tmp_path / CHECKPOINT_FILE).is_file() and not (tmp_path / "masks").exists()
    kept = {n: (tmp_path / n).read_bytes() for n in (SPLIT_FILE, "encoder.safetensors", "masks.safetensors")}
    steps: list[int] = []

    class Steps(Monitor):
        def report(self, **state: Any) -> None:
            if "step" in state and "loss" in state:
                steps.append(state["step"])

    more = replace(data, entries=[*data.entries, *volumes_set(46).entries[44:]])  # came since then
    report = train(recipe, more, tmp_path, monitor=Steps())
    assert steps == [3, 4]  # no step of a finished stage, and none twice
    assert {n: (tmp_path / n).read_bytes() for n in kept} == kept
    assert not (tmp_path / CHECKPOINT_FILE).exists()
    spec = ModelSpec.load(tmp_path)
    assert spec.labels == {"front": 7, "back": 3} and set(spec.training["label_voxels"]) == {"front", "back"}
    assert all(0 < low <= high for low, high in spec.training["label_voxels"].values())
    assert len(spec.training["patients"]["test"]) == 20 and report is not None
    assert report["privacy"] is not None and "kid" in strict(tmp_path / FIGURES_FILE)
    (sample,) = Synthesizer(tmp_path)(1, 0)
    assert sample.label is not None and sample.image.shape == VOLUME


def test_encoder_and_label_maps_of_other_images_are_not_taken_up(tmp_path: Path) -> None:
    data = volumes_set(44)
    recipe = solid_recipe(data)
    with pytest.raises(Cancelled):
        train(recipe, data, tmp_path, monitor=Stages("images", 2))
    others = replace(data, entries=[replace(e, read=partial(brighter, e.read)) for e in data.entries])
    for changed, images in ((recipe, others), (replace(recipe, encoder=replace(TINY_ENCODER, steps=4)), data)):
        with pytest.raises(CheckpointMismatch, match=r"encoder\.safetensors was trained in another way"):
            train(changed, images, tmp_path)


def brighter(read: Callable[[], Sample]) -> Sample:
    sample = read()
    return replace(sample, image=sample.image**2)


def test_the_cards_of_models_without_classes_claim_none(tmp_path: Path) -> None:
    """A DCGAN on a set with classes is told none of them."""
    data = pictures_set(60)
    recipe = replace(flat_recipe(data, "dcgan"), test=12)
    report = train(recipe, data, tmp_path)
    spec = ModelSpec.load(tmp_path)
    assert spec.classes == [] and "## Classes" not in (tmp_path / CARD_FILE).read_text()
    assert report is not None and report["privacy"] is None and "at least 20" in report["notes"][0]
    assert "at least 20" in (tmp_path / CARD_FILE).read_text()


def unclassed(recipe: SynthesisRecipe, preset: str) -> SynthesisRecipe:
    return with_preset(replace(recipe, spec=recipe.spec.replace(classes=[])), preset)


def nameless(data: DataSet) -> DataSet:
    return replace(data, entries=[replace(data.entries[0], target=None), *data.entries[1:]])


REFUSED: dict[str, tuple[Callable[[SynthesisRecipe, DataSet], tuple[SynthesisRecipe, DataSet]], str]] = {
    "few to test": (lambda r, d: (replace(r, test=5), d), "5 images for test; at least 12"),
    "few to watch": (lambda r, d: (replace(r, validation=0), d), "0 images for validation; at least 2"),
    "few to train": (lambda r, d: (replace(r, test=28, validation=30), d), "2 images for train; at least 4"),
    "more classes": (lambda r, d: (replace(r, spec=r.spec.replace(classes=["one"])), d), "more classes than the 1"),
    "no classes": (lambda r, d: (unclassed(r, "cgan"), d), "told the class of each image; squares has none"),
    "masks": (lambda r, d: (with_preset(replace(r, masks=MaskConfig()), "dcgan"), d), "Only the default preset fills"),
    "some classes": (lambda r, d: (r, nameless(d)), "have no class"),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_what_cannot_be_trained_is_told_before_it_starts(
    tmp_path: Path, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.tasks.synthesis.train.train_encoder", lambda *_: pytest.fail("began to train"))
    data = pictures_set(60)
    change, message = REFUSED[problem]
    recipe, data = change(replace(flat_recipe(data), test=14), data)
    with pytest.raises(CasesError, match=message):
        train(recipe, data, tmp_path)


# Recipes


def test_a_recipe_follows_the_data() -> None:
    flat, solid = recipe_for(pictures_set(2)), recipe_for(volumes_set(2), "default", (8, 8, 8), 2.0, masks=True)
    assert flat.preprocess.window == PICTURE and flat.preprocess.range == (0, 255) and not flat.preprocess.clip
    assert flat.spec.classes == ["left", "right"] and flat.masks is None and flat.spec.dimensions == 2
    assert solid.preprocess.spacing == (2.0,) * 3 and solid.preprocess.clip and solid.masks is not None
    assert solid.spec.labels == {"front": 7, "back": 3} and solid.shape(1, ()).maps == 3
    assert recipe_for(replace(volumes_set(2), units="HU")).preprocess.range == (-1000, 1000)
    several = recipe_for(replace(volumes_set(2), channels=("t1", "t2")))
    assert several.spec.modalities == ["t1", "t2"]


def test_a_set_that_names_no_labels_has_its_values_named() -> None:
    unnamed = replace(volumes_set(2), labels={})
    assert recipe_for(unnamed, masks=True).spec.labels == {"label 3": 3, "label 7": 7}
    large = Sample(organ(0).image, organ(0).label.astype(np.int16) * 100, np.eye(4))  # type: ignore[union-attr]
    with pytest.raises(CasesError, match="values from 300 to 700; they must be within 1 to 255"):
        recipe_for(replace(unnamed, entries=[Entry("a", "a", lambda: large)]), masks=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "biggan"}, "no preset 'biggan'. Known: gan, dcgan"),
        ({"window": (8, 8, 8)}, "squares is 2D; give 2 numbers"),
        ({"masks": True}, "squares has no label maps to fill"),
    ],
)
def test_recipes_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CasesError, match=message):
        recipe_for(pictures_set(2), **options)


def test_a_preset_brings_its_optimiser() -> None:
    recipe = with_preset(recipe_for(pictures_set(2)), "wgan", steps=77, learning_rate=0.5)
    assert recipe.fit.betas == (0.0, 0.9) and recipe.fit.learning_rate == 0.5
    assert recipe.config.preset == "wgan" and recipe.config.steps == recipe.fit.steps == 77


# Who is known


def entries(*patients: str) -> list[Entry]:
    return [
        Entry(f"i{n}", patient, lambda: Sample(np.zeros((1, 8, 8), np.float32))) for n, patient in enumerate(patients)
    ]


def spec_of(**patients: Any) -> ModelSpec:
    return ModelSpec("m", "synthesis", "M", "", {}, {}, training={"patients": patients})


def test_images_of_known_patients_are_told_apart() -> None:
    spec = spec_of(train=["a", "b"], validation=["c"], test=["d"])
    unknown, known = split_known(spec, entries("a", "c", "d", "b", "a", "e"))
    assert [e.patient for e in known] == ["a", "b", "a"]
    assert [e.patient for e in unknown] == ["d", "e"]  # the watched one is in neither
    unknown, known = split_known(spec, entries("x", "y"))
    assert len(unknown) == 2 and known == []
    assert split_known(ModelSpec("m", "synthesis", "M", "", {}, {}), entries("x"))[1] == []


def test_many_patients_are_known_by_their_fingerprint() -> None:
    spec = spec_of(train=None, train_fingerprint=fingerprint(entries("a", "b", "a")), validation=["c"], test=["d"])
    assert fingerprint(entries("b", "a")) == fingerprint(entries("a", "b", "a"))
    unknown, known = split_known(spec, entries("b", "d", "c", "a"))
    assert [e.patient for e in known] == ["b", "a"] and [e.patient for e in unknown] == ["d"]
    assert len(split_known(spec, entries("x", "y"))[0]) == 2
    unknown, known = split_known(spec, entries("a", "d"))  # a part of its own set: a may be one that it learned from
    assert [e.patient for e in unknown] == ["d"] and known == []
    assert may_be_known(spec, entries("a", "x")), "it does not tell single patients"
    assert not may_be_known(spec, entries("a", "d")) and not may_be_known(spec, entries("a", "b"))


def test_many_patients_are_known_one_by_one() -> None:
    spec = spec_of(train=None, train_hashes=hashes_of(["a", "b", "a"]), validation=["c"], test=["d"])
    assert len(spec.training["patients"]["train_hashes"]) == 2 * 16
    unknown, known = split_known(spec, entries("x", "a", "c"))
    assert [e.patient for e in known] == ["a"] and [e.patient for e in unknown] == ["x"]
    assert not may_be_known(spec, entries("x", "a"))


def test_why_nothing_is_left_to_measure_on() -> None:
    spec = spec_of(train=["a"], validation=["c"], test=[])
    assert (
        all_known(spec, entries("a", "a"), "images", "here")
        == "The model learned from all images in here. Give others."
    )
    assert all_known(spec, entries("c"), "images", "here").startswith("All images in here were watched while")
    assert "from 2 of the images in here, and the other 1 were watched" in all_known(
        spec, entries("a", "c", "a"), "images", "here"
    )


def test_a_spec_of_many_patients_keeps_a_hash_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.tasks.synthesis.train.MOST_NAMED", 20)
    data = pictures_set(60)
    train(replace(flat_recipe(data), test=14), data, tmp_path)
    spec = ModelSpec.load(tmp_path)
    assert spec.training["patients"]["train"] is None
    unknown, known = split_known(spec, data.entries)
    assert len(known) == 38 and len(unknown) == 14
    some = [e for e in known if e.patient][:5]
    assert split_known(spec, some) == ([], some), "also without any other patient of the set"


# Measuring


def test_a_model_is_measured_on_images_of_its_kind(picture_model: Path) -> None:
    real, training = pictures_set(40).entries, pictures_set(40, seed=1).entries
    report = evaluate(picture_model, real, 24, training)
    found = report.as_dict()
    json.dumps(found, allow_nan=False)
    assert found["kid"] > 0 and found["privacy"]["images"] == {"train": 40, "held_out": 40, "synthetic": 24}
    assert 0 < found["seconds_per_image"] < 5
    assert report.fidelity.images == {"real": 40, "fake": 24}
    alone = evaluate(picture_model, real, 24)
    assert alone.privacy is None and "--training" in alone.notes[0]
    assert alone.as_dict()["kid"] == pytest.approx(found["kid"])


def test_images_of_another_kind_are_not_compared(picture_model: Path) -> None:
    from trainers.data.volumes import VolumeError

    colour = [Entry(f"c{n}", f"c{n}", lambda: Sample(np.zeros((3, 12, 10), np.float32))) for n in range(20)]
    with pytest.raises(VolumeError, match="have 3 channels; squares makes images of 1"):
        evaluate(picture_model, colour, 24)
    with pytest.raises(VolumeError, match="is 3D; the model makes 2D"):
        evaluate(picture_model, volumes_set(1).entries, 24)
    with pytest.raises(ValueError, match="no real images"):
        evaluate(picture_model, [], 24)
    with pytest.raises(ValueError, match="features of 5 images; at least 12"):
        evaluate(picture_model, pictures_set(5).entries, 24)


# Card


def test_a_card_has_sections_and_a_picture(tmp_path: Path) -> None:
    spec = spec_of(train=["a", "b"], test=["c"]).replace(classes=["normal"], limits="None known.")
    write_card(spec, tmp_path, {"Privacy": ["no leak", "no copy"], "Empty": []}, "samples.png")
    card = (tmp_path / CARD_FILE).read_text()
    assert "![Samples](samples.png)" in card and "## Classes\n\n- normal" in card
    assert "## Privacy\n\n- no leak\n- no copy" in card and "Empty" not in card
    assert "patients: 2 for train, 1 for test (ids in spec.json)" in card
    write_card(spec.replace(classes=[]), tmp_path)
    plain = (tmp_path / CARD_FILE).read_text()
    assert "![" not in plain and "## Classes" not in plain and "\n\n\n" not in plain

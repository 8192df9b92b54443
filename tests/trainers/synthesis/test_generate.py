"""A synthetic data set on the disk: layout, manifest, marks, and the same voxels from the same seed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.trainers.synthesis.conftest import LABELS, PICTURE, VOLUME, picture_spec, write_model
from trainers.data.readers import open_data
from trainers.data.volumes import read_label, read_volume
from trainers.files import read_json
from trainers.monitor import Cancelled, Monitor
from trainers.spec import weights_checksum
from trainers.tasks.synthesis import Synthesizer, generate
from trainers.tasks.synthesis.generate import MANIFEST, NotEmpty
from trainers.tasks.synthesis.presets import PRESETS, Shape, networks_of


def test_volumes_labels_and_a_manifest(volume_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    told = generate(volume_model, 2, out, seed=7)
    names = ["synthetic_000007", "synthetic_000008"]
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == sorted(
        [*(f"{part}/{name}.nii.gz" for part in ("images", "labels") for name in names), MANIFEST]
    )
    assert read_json(out / MANIFEST) == told
    assert told["synthetic"] and "no patient" in told["note"] and told["model"] == "organs"
    assert told["checksum"] == weights_checksum(volume_model) and told["labels"] == LABELS
    assert [(r["id"], r["seed"], r["synthetic"]) for r in told["images"]] == [(names[0], 7, True), (names[1], 8, True)]
    (sample,) = Synthesizer(volume_model)(1, 8)
    image, label = read_volume(out / told["images"][1]["image"]), read_label(out / told["images"][1]["label"])
    np.testing.assert_array_equal(image.array, sample.image.array)
    np.testing.assert_allclose(image.affine, sample.image.affine, atol=1e-6)
    assert sample.label is not None and image.shape == VOLUME
    np.testing.assert_array_equal(label.array, sample.label.array)
    for part in ("image", "label"):
        header = nib.load(out / told["images"][0][part]).header
        assert bytes(header["descrip"]).startswith(b"SYNTHETIC organs seed 7")


def test_generated_volumes_are_a_data_set(volume_model: Path, tmp_path: Path) -> None:
    generate(volume_model, 2, tmp_path / "made")
    opened = open_data(tmp_path / "made")
    assert [e.id for e in opened.entries] == ["synthetic_000000", "synthetic_000001"]
    assert opened.entries[0].read().label is not None


def test_pictures_of_classes(picture_model: Path, tmp_path: Path) -> None:
    told = generate(picture_model, 3, tmp_path, seed=1)
    assert not (tmp_path / "labels").exists()
    make = Synthesizer(picture_model)
    for row in told["images"]:
        with Image.open(tmp_path / row["image"]) as picture:
            assert picture.size == PICTURE and picture.mode == "L"
            assert picture.info["Description"] == f"SYNTHETIC squares seed {row['seed']}"
            (sample,) = make(1, row["seed"])
            np.testing.assert_array_equal(np.asarray(picture).T, sample.image.array[..., 0])
        assert row["class"] == sample.target
    chosen = generate(picture_model, 3, tmp_path / "left", target="left")
    assert [row["class"] for row in chosen["images"]] == ["left"] * 3


def test_colour_pictures_and_their_label_maps(tmp_path: Path) -> None:
    shape = Shape(PICTURE, 3, (8, 4), (4, 8), maps=2, latent=6)
    half = Shape((6, 5), 1, (8, 4), (4, 8), latent=4, output="linear")
    networks = [networks_of(PRESETS["default"], s)[0] for s in (shape, half)]
    spec = picture_spec(
        network=networks[0], parts={"masks": networks[1]}, classes=[], labels={"disc": 5},
        training={"label_voxels": {"disc": [1, 100]}},
    )  # fmt: skip
    told = generate(write_model(tmp_path / "m", spec), 1, tmp_path / "out")
    (row,) = told["images"]
    with Image.open(tmp_path / "out" / row["image"]) as picture:
        assert picture.mode == "RGB" and picture.size == PICTURE
    with Image.open(tmp_path / "out" / row["label"]) as label:
        assert label.size == PICTURE and set(np.unique(np.asarray(label))) <= {0, 5}


def test_the_same_seed_gives_the_same_files(volume_model: Path, picture_model: Path, tmp_path: Path) -> None:
    for model in (volume_model, picture_model):
        folders = [tmp_path / f"{model.name}{n}" for n in (1, 2)]
        told = [generate(model, 2, folder, seed=3) for folder in folders]
        assert told[0] == told[1]
        for row in told[0]["images"]:
            files = [row[part] for part in ("image", "label") if part in row]
            for file in files:
                if file.endswith(".png"):
                    assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
                else:
                    one, two = (read_volume(folder / file) for folder in folders)
                    np.testing.assert_array_equal(one.array, two.array)


def test_a_folder_that_holds_something_is_left_alone(picture_model: Path, tmp_path: Path) -> None:
    (tmp_path / "scan.txt").write_text("mine")
    with pytest.raises(NotEmpty, match=r"is not empty\. Give a new folder"):
        generate(picture_model, 1, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["scan.txt"]


def test_an_unknown_class_writes_nothing(picture_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no class 'up'"):
        generate(picture_model, 1, tmp_path / "out", target="up")
    assert not (tmp_path / "out").exists()


def test_a_stopped_run_leaves_no_manifest(picture_model: Path, tmp_path: Path) -> None:
    class Second(Monitor):
        heard = 0

        def report(self, **state: object) -> None:
            self.heard += 1

        def check(self) -> None:
            if self.heard == 2:
                raise Cancelled

    with pytest.raises(Cancelled):
        generate(picture_model, 5, tmp_path, monitor=Second())
    assert len(list((tmp_path / "images").iterdir())) == 2 and not (tmp_path / MANIFEST).exists()

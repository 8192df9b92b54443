"""The demo's patients are plausible, different, repeatable, and their labels move with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo import pictures
from demo.mni import CROP, HIPPOCAMPUS, crop, draw_variation, head, vary_image, vary_label
from demo.studies import make_studies
from trainers.data.volumes import Volume, read_label, read_volume, same_grid
from trainers.zoo import SHIPPED

MODEL = SHIPPED / "hippocampus_segmentation" / "v0001"


def test_crops_are_where_they_should_be() -> None:
    left, right = (crop(head(), p) for p in HIPPOCAMPUS.values())
    assert left.shape == right.shape == CROP
    middle = (left.affine @ [*(np.array(CROP) / 2), 1])[:3]
    np.testing.assert_allclose(middle, HIPPOCAMPUS["left"], atol=1)
    mirrored = np.corrcoef(left.array.ravel(), right.array[::-1].ravel())[0, 1]
    assert mirrored > 0.9


def test_variations_differ_from_each_other_and_repeat() -> None:
    image = crop(head(), HIPPOCAMPUS["left"])

    def make(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        return vary_image(image, draw_variation(random, image.shape), random).array

    np.testing.assert_array_equal(make(1), make(1))
    likeness = np.corrcoef(make(1).ravel(), make(2).ravel())[0, 1]
    assert 0.4 < likeness < 0.97
    assert make(1).min() >= 0


def test_labels_move_with_their_images() -> None:
    """A label made of the image's own dark part stays the dark part after both were moved alike."""
    image = crop(head(), HIPPOCAMPUS["left"])
    label = image.like((image.array < np.percentile(image.array, 20)).astype(np.uint8))
    change = draw_variation(np.random.default_rng(3), image.shape)
    moved = vary_image(image, change, np.random.default_rng(3)).array
    inside = vary_label(label, change).array > 0
    assert moved[inside].mean() < 0.8 * moved[~inside].mean()


def test_studies_are_labelled_pairs_on_one_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDGAN_DATA", raising=False)
    made = make_studies(tmp_path, MODEL, corrected=3, held_out=2)
    assert len(list(made.folder.glob("*.nii.gz"))) == 4
    assert {c.id for c in made.corrected}.isdisjoint(c.id for c in made.held_out)
    for case in (*made.corrected, *made.held_out):
        image = read_volume(case.image)
        assert set(np.unique(read_label(case.label, [1, 2], image).array)) == {0, 1, 2}
    assert not any(c.image.parent == made.folder for c in made.held_out)


def test_slices_show_each_label_in_its_colour(tmp_path: Path) -> None:
    import matplotlib.image

    label = np.zeros((30, 30, 30), np.uint8)
    label[8:16, 8:22, 8:22], label[16:22, 8:22, 8:22] = 1, 2
    image = Volume(np.random.default_rng(0).random((30, 30, 30)).astype(np.float32), np.diag([-1, -1, 1, 1.0]))
    pictures.slices(image, {"one": label}, {1: (1, 0, 0), 2: (0, 1, 0)}, tmp_path / "s.png", reach_mm=15)
    pixels = matplotlib.image.imread(tmp_path / "s.png")[..., :3]
    for channel in (0, 1):
        others = [c for c in range(3) if c != channel]
        assert ((pixels[..., channel] > 0.8) & (pixels[..., others] < 0.2).all(-1)).sum() > 100


@pytest.mark.realdata
def test_real_patients_are_those_that_the_model_has_not_seen(real_data: Path, tmp_path: Path) -> None:
    made = make_studies(tmp_path, MODEL, corrected=4, held_out=3)
    ids = {c.id for c in (*made.corrected, *made.held_out)}
    assert len(ids) == 7 and all(i.startswith("hippocampus_") for i in ids)
    assert same_grid(read_volume(made.corrected[0].image), read_label(made.corrected[0].label))

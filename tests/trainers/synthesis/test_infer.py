"""Making images: by seed, by class, to fill a mask; and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests.trainers.synthesis.conftest import LABELS, PICTURE, VOLUME, picture_spec, volume_spec, write_model
from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Cancelled, Monitor
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable
from trainers.tasks.synthesis import Synthesizer


@pytest.fixture(scope="module")
def pictures(picture_model: Path) -> Synthesizer:
    return Synthesizer(picture_model)


@pytest.fixture(scope="module")
def volumes(volume_model: Path) -> Synthesizer:
    return Synthesizer(volume_model)


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_the_seed_makes_the_image(kind: str, request: pytest.FixtureRequest) -> None:
    make: Synthesizer = request.getfixturevalue(kind)
    several = make(3, seed=5)
    assert [s.seed for s in several] == [5, 6, 7]
    for offset, sample in enumerate(several):
        (alone,) = make(1, seed=5 + offset)
        np.testing.assert_array_equal(sample.image.array, alone.image.array)
        assert sample.target == alone.target
        if sample.label is not None and alone.label is not None:
            np.testing.assert_array_equal(sample.label.array, alone.label.array)
    assert not np.array_equal(several[0].image.array, several[1].image.array)


def test_pictures_have_one_slice_and_a_class(pictures: Synthesizer) -> None:
    samples = pictures(24)
    assert all(s.image.shape == (*PICTURE, 1) and s.image.array.dtype == np.uint8 and s.label is None for s in samples)
    drawn = [s.target for s in samples].count("right")
    assert 11 <= drawn <= 23  # three quarters, as in training


def test_a_class_that_is_asked_for_is_made(pictures: Synthesizer) -> None:
    left, right = (pictures(1, 3, target=name)[0] for name in ("left", "right"))
    assert (left.target, right.target) == ("left", "right")
    assert not np.array_equal(left.image.array, right.image.array)
    (drawn,) = pictures(1, 3)
    same = left if drawn.target == "left" else right
    np.testing.assert_array_equal(drawn.image.array, same.image.array)  # naming what would be drawn changes nothing


def test_volumes_have_a_label_on_their_grid(volumes: Synthesizer) -> None:
    (sample,) = volumes(1, 2)
    assert sample.label is not None and sample.image.shape == sample.label.shape == VOLUME
    np.testing.assert_array_equal(sample.image.affine, sample.label.affine)
    assert sample.image.array.dtype == np.int16 and 0 <= sample.image.array.min() <= sample.image.array.max() <= 1000
    assert sample.label.array.dtype == np.uint8
    assert set(np.unique(sample.label.array)) <= {0, *LABELS.values()} and sample.label.array.any()
    assert sample.target is None and sample.modality is None


def test_modalities_are_drawn_or_named(tmp_path: Path) -> None:
    shape = {**picture_spec().network, "categories": [2, 3]}
    shares = {"class_share": {"left": 1.0, "right": 0.0}, "modality_share": {"t1": 0.0, "t2": 0.0, "pd": 1.0}}
    spec = picture_spec(network=shape, modalities=["t1", "t2", "pd"], training=shares)
    make = Synthesizer(write_model(tmp_path / "m", spec))
    (drawn,) = make(1)
    assert (drawn.target, drawn.modality) == ("left", "pd")
    (named,) = make(1, target="right", modality="t2")
    assert (named.target, named.modality) == ("right", "t2")
    images = [make(1, target="left", modality=m)[0].image.array for m in ("t1", "t2", "pd")]
    assert not np.array_equal(images[0], images[1]) and np.array_equal(images[2], drawn.image.array)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "up"}, "no class 'up'. Known: left, right"),
        ({"modality": "t1"}, "no modality 't1'. Known: none"),
        ({"number": 0}, "at least 1, not 0"),
    ],
)
def test_what_is_not_known_is_told(pictures: Synthesizer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pictures(**{"number": 1, **options})


def test_a_model_that_learned_without_classes_cannot_be_asked_for_one(tmp_path: Path) -> None:
    """Its set has classes; its kind of GAN was told none, so any image may come."""
    make = Synthesizer(write_model(tmp_path / "m", picture_spec("dcgan")))
    assert make(1)[0].target is None
    with pytest.raises(ValueError, match=r"no class 'left'\. Known: none"):
        make(1, target="left")


def mask(affine: np.ndarray, shape: tuple[int, int, int], center: tuple[float, float, float]) -> Volume:
    """A ball of two halves, 2.6 mm in radius, seen in any grid."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    points = (affine[:3, :3] @ index + affine[:3, 3:]).T - center
    ball = np.linalg.norm(points, axis=1) < 2.6
    return Volume(np.where(ball, np.where(points[:, 1] > 0, 7, 3), 0).reshape(shape).astype(np.uint8), affine)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def seen_finely(affine: np.ndarray, times: int = 5) -> np.ndarray:
    """The same ball on the model's window: in each voxel the value that has most of it."""
    fine = affine @ np.diag([1 / times, 1 / times, 1 / times, 1])
    fine[:3, 3] = (affine @ [*[(1 / times - 1) / 2] * 3, 1])[:3]
    array = mask(fine, tuple(n * times for n in VOLUME), CENTER).array  # type: ignore[arg-type]
    blocks = array.reshape(VOLUME[0], times, VOLUME[1], times, VOLUME[2], times)
    values = np.array([0, *LABELS.values()])
    return values[np.stack([(blocks == v).mean((1, 3, 5)) for v in values]).argmax(0)]


def rotated(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


CENTER = (11.0, -7.0, 30.0)
GRIDS = {
    "as the model": np.eye(3),
    "mirrored": np.diag([-1.0, 1.0, -1.0]),
    "other axes, finer": np.array([[0, 0.5, 0], [0, 0, -0.5], [0.8, 0, 0]]),
    "oblique": rotated(40) * 0.7,
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_mask_is_filled_where_it_lies(volumes: Synthesizer, name: str) -> None:
    shape = (25, 23, 27)
    affine = np.eye(4)
    affine[:3, :3] = GRIDS[name]
    affine[:3, 3] = np.array(CENTER) - GRIDS[name] @ ((np.array(shape) - 1) / 2 + [1.3, -0.6, 0.4])
    given = mask(affine, shape, CENTER)
    (sample,) = volumes(1, 0, mask=given)
    label = sample.label
    assert label is not None and label.shape == VOLUME
    np.testing.assert_allclose(sample.image.spacing, 1, atol=1e-6)
    expected = seen_finely(label.affine)
    assert dice(label.array > 0, expected > 0) > 0.9
    assert (
        min(dice(label.array == value, expected == value) for value in LABELS.values()) > 0.8
    )  # a voxel more or less in the halves
    np.testing.assert_allclose(label.affine[:3] @ [*ndimage.center_of_mass(label.array > 0), 1.0], CENTER, atol=0.3)
    middle = label.affine[:3] @ [*((np.array(VOLUME) - 1) / 2), 1.0]
    assert np.abs(middle - CENTER).max() < 1.2


def test_masks_change_images_and_seeds_fill_them_differently(volumes: Synthesizer) -> None:
    affine = np.eye(4)
    small, large = (mask(np.diag([s, s, s, 1]), (16, 16, 16), (8 * s,) * 3) for s in (1.0, 0.8))
    one, two = volumes(2, 0, mask=small)
    (other,) = volumes(1, 0, mask=large)
    assert one.label is not None and two.label is not None
    np.testing.assert_array_equal(one.label.array, two.label.array)
    assert not np.array_equal(one.image.array, two.image.array)
    swapped = Volume(np.where(small.array == 7, 3, np.where(small.array == 3, 7, 0)).astype(np.uint8), affine)
    (third,) = volumes(1, 0, mask=swapped)
    assert not np.array_equal(third.image.array, one.image.array)
    assert other.label is not None


@pytest.mark.parametrize("values", [{0: 0}, {0: 0, 7: 4}, {0: 0, 7: 9}])
def test_masks_that_cannot_be_filled_are_refused(volumes: Synthesizer, values: dict[int, int]) -> None:
    given = mask(np.eye(4), (16, 16, 16), (8, 8, 8))
    array = np.vectorize(lambda v: values.get(v, 0))(given.array).astype(np.uint8)
    with pytest.raises(VolumeError, match=r"The mask is empty|has the values") as refused:
        volumes(1, mask=Volume(array, given.affine))
    assert refused.value.code == "wrong_labels" and "[3, 7]" in refused.value.hint


def test_a_mask_too_small_for_the_models_voxels_is_refused(volumes: Synthesizer) -> None:
    array = np.zeros((64, 64, 64), np.uint8)
    array[31, 30, 33] = 7
    with pytest.raises(VolumeError, match="too small to be seen"):
        volumes(1, mask=Volume(array, np.diag([0.1, 0.1, 0.1, 1])))


def test_a_mask_is_refused_by_models_that_fill_none(pictures: Synthesizer, tmp_path: Path) -> None:
    given = mask(np.eye(4), (16, 16, 16), (8, 8, 8))
    unmapped = {**volume_spec().network, "maps": 0}
    named = Synthesizer(write_model(tmp_path / "m", volume_spec(network=unmapped, parts={})))
    for make in (pictures, named):  # the second one knows labels, but learned without them
        assert not make.accepts_mask
        assert make(1)[0].label is None
        with pytest.raises(VolumeError, match="cannot fill a mask"):
            make(1, mask=given)


def test_threads_do_not_disturb_each_other(volumes: Synthesizer) -> None:
    alone = [volumes(1, seed)[0].image.array for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: volumes(1, seed)[0].image.array, range(6)))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, two)


def test_it_tells_its_progress_and_can_be_stopped(pictures: Synthesizer) -> None:
    class Once(Monitor):
        def __init__(self) -> None:
            self.heard: list[float] = []

        def report(self, **state: Any) -> None:
            self.heard.append(state["progress"])

        def check(self) -> None:
            if len(self.heard) == 2:
                raise Cancelled

    monitor = Once()
    with pytest.raises(Cancelled):
        pictures(4, monitor=monitor)
    assert monitor.heard == [0.25, 0.5]


def test_a_model_without_weights_is_not_available(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", volume_spec())
    (folder / "masks.safetensors").unlink()
    with pytest.raises(ModelNotAvailable, match=r"m/masks\.safetensors are missing"):
        Synthesizer(folder)
    (folder / WEIGHTS_FILE).write_bytes(b"no weights")
    with pytest.raises(ModelNotAvailable, match="damaged"):
        Synthesizer(folder)

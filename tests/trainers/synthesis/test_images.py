"""Preparing images: geometry, labels, intensities, modalities, and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.trainers.synthesis.conftest import organ
from trainers.data.sets import Entry, Sample
from trainers.data.volumes import VolumeError
from trainers.monitor import Cancelled, Monitor
from trainers.tasks.synthesis.images import (
    SynthesisPreprocess,
    middle_of,
    prepare,
    prepare_sample,
    to_intensity,
    to_unit,
    to_volume,
)

CUBE = SynthesisPreprocess((12, 12, 12), (1.0, 1.0, 1.0), range=(0.0, 1000.0))
FLAT = SynthesisPreprocess((8, 6))


def entry(sample: Sample, name: str = "a", target: int | None = None) -> Entry:
    return Entry(name, name, lambda: sample, target)


def turned(degrees: float) -> np.ndarray:
    """A rotation about z, in RAS mm."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 5.0], [s, c, 0, -8.0], [0, 0, 1, 3.0], [0, 0, 0, 1]])


def seen_in(affine: np.ndarray, shape: tuple[int, int, int]) -> Sample:
    """A ball at (20, 16, 12) mm in grey values that rise by 20 a mm to the patient's left-right and 10 along z."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    x, y, z = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)
    ball = (x - 20) ** 2 + (y - 16) ** 2 + (z - 12) ** 2 < 3.2**2
    return Sample((500 + 20 * (x - 20) + 10 * (z - 12)).astype(np.float32)[None], 4 * ball.astype(np.uint8), affine)


def about(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The affine, moved so that the ball is in the middle of a grid of that shape."""
    moved = affine.copy()
    moved[:3, 3] = np.array([20, 16, 12]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return moved


GRIDS = {
    "canonical": np.eye(4),
    "mirrored": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "other axes": np.array([[0, 0, -1.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    "finer": np.diag([0.5, 0.5, 0.8, 1.0]),
    "oblique": turned(35),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_window_lies_around_the_organ_in_the_patients_axes(name: str) -> None:
    """However the volume is stored, the same anatomy is on the window: a ball in its middle, x and z rising."""
    shape = (61, 57, 49) if name == "finer" else (41, 37, 39)
    image, label = prepare_sample(seen_in(about(GRIDS[name], shape), shape), CUBE, [4])
    assert image.shape == (1, 12, 12, 12) and label is not None
    np.testing.assert_allclose(middle_of(label == 1), [5.5] * 3, atol=0.51)
    assert (label == 1).sum() == pytest.approx(4 / 3 * np.pi * 3.2**3, rel=0.12)
    middle = np.indices((12, 12, 12)) - 5.5
    slopes = [(image[0] * m).sum() / (m * m).sum() for m in middle]
    np.testing.assert_allclose(slopes, [0.04, 0.0, 0.02], atol=1e-3)  # 2 units over 1000 grey values
    assert image.mean() == pytest.approx(0, abs=0.05)


def test_without_a_label_the_window_is_the_images_middle() -> None:
    array = np.zeros((1, 21, 21, 21), np.float32)
    array[0, 10, 10, 10] = 1000
    image, label = prepare_sample(Sample(array, None, np.eye(4)), replace(CUBE, window=(5, 5, 5)))
    assert label is None and image[0, 2, 2, 2] == 1 and (image == 1).sum() == 1
    moved = Sample(array, None, None)  # no place in a patient
    np.testing.assert_array_equal(prepare_sample(moved, replace(CUBE, window=(5, 5, 5)))[0], image)


def test_beyond_the_image_it_is_mirrored() -> None:
    array = np.broadcast_to(np.linspace(100, 900, 9, dtype=np.float32)[:, None, None], (9, 9, 9)).copy()
    label = np.zeros((9, 9, 9), np.uint8)
    label[7:, 3:6, 3:6] = 2
    image, classes = prepare_sample(Sample(array[None], label, np.eye(4)), replace(CUBE, mirror=True), [2])
    assert classes is not None and image.min() > -0.81
    start = 2  # the organ's middle is at 7.5, the window begins 5.5 before it
    seen = np.abs(8 - np.abs(8 - np.arange(start, start + 12)))  # 2 to 8, and back to 3
    expected = np.linspace(100, 900, 9)[seen] / 500 - 1
    np.testing.assert_allclose(image[0, :, 0, 0], expected, atol=1e-5)
    assert (image[0] == image[0, :, :1, :1]).all()
    repeated, _ = prepare_sample(Sample(array[None], label, np.eye(4)), CUBE, [2])
    np.testing.assert_allclose(
        repeated[0, :, 0, 0], np.linspace(100, 900, 9)[np.minimum(start + np.arange(12), 8)] / 500 - 1, atol=1e-5
    )
    assert (classes[7:] == 0).all() and (classes == 1).sum() == 18


def test_a_window_far_larger_than_the_image_ends_with_its_edges() -> None:
    array = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32) * 400
    image, _ = prepare_sample(Sample(array[None], None, np.eye(4)), replace(CUBE, window=(11, 3, 3), mirror=True))
    line = (image[0, :, 1, 1] + 1) * 500 / 400
    np.testing.assert_allclose(line, [0, 0, 2, 1, 0, 1, 2, 1, 0, 2, 2], atol=1e-4)


def test_label_values_become_indices_in_the_order_given() -> None:
    label = np.zeros((12, 12, 12), np.uint8)
    label[2:4], label[5:7], label[8:10] = 3, 7, 200
    sample = Sample(np.zeros((1, 12, 12, 12), np.float32), label, np.eye(4))
    label[0], label[11] = 9, 9  # a value that the model does not know
    _, classes = prepare_sample(sample, CUBE, [7, 3, 200])
    assert classes is not None and classes.dtype == np.uint8
    assert [int(classes[i, 0, 0]) for i in (0, 2, 5, 8)] == [0, 2, 1, 3]


def test_percentiles_of_each_image_become_the_ends() -> None:
    random = np.random.default_rng(0)
    channel = random.uniform(200, 400, (20, 20)).astype(np.float32)
    channel[0, 0], channel[0, 1] = 1e6, -1e6
    unit = to_unit(channel, SynthesisPreprocess((20, 20), clip=(0.5, 99.5)))
    assert unit.min() == -1 and unit.max() == 1
    assert np.corrcoef(unit.ravel()[2:], channel.ravel()[2:])[0, 1] > 0.99
    np.testing.assert_allclose(
        to_unit(3 * channel + 50, SynthesisPreprocess((20, 20), clip=(0.5, 99.5))), unit, atol=1e-4
    )
    assert (to_unit(np.full((4, 4), 7.0), SynthesisPreprocess((4, 4), clip=(0.5, 99.5))) == -1).all()


def test_a_range_in_units_is_kept_and_beyond_it_cut() -> None:
    hounsfield = SynthesisPreprocess((5,), range=(-1000.0, 1000.0))
    values = np.array([-2000, -1000, 0, 500, 3000])
    np.testing.assert_allclose(to_unit(values, hounsfield), [-1, -1, 0, 0.5, 1])
    back = to_intensity(to_unit(values, hounsfield), hounsfield)
    assert back.dtype == np.int16 and back.tolist() == [-1000, -1000, 0, 500, 1000]
    assert to_intensity(np.array([-1.2, 0, 1.2], np.float32), FLAT).tolist() == [0, 128, 255]
    assert to_intensity(np.zeros(1, np.float32), FLAT).dtype == np.uint8


@given(
    arrays.arrays(np.float32, (6, 5), elements=st.floats(-1, 1, width=32)),
    st.sampled_from([(0.0, 255.0), (-1000.0, 1000.0), (0.0, 1000.0)]),
)
@settings(deadline=None)
def test_intensities_come_back(image: np.ndarray, ends: tuple[float, float]) -> None:
    chosen = SynthesisPreprocess((6, 5), range=ends)
    back = to_unit(to_intensity(image, chosen), chosen)
    np.testing.assert_allclose(back, image, atol=1.01 / (ends[1] - ends[0]))


def test_pictures_are_resized_whole() -> None:
    rows = np.zeros((16, 12), np.float32)
    rows[8:, :] = 200
    label = (rows > 0).astype(np.uint8) * 5
    image, classes = prepare_sample(Sample(np.stack([rows, 255 - rows]), label), FLAT, [5])
    assert image.shape == (2, 8, 6) and classes is not None and classes.shape == (8, 6)
    assert (classes[4:] == 1).all() and (classes[:4] == 0).all()
    np.testing.assert_allclose(image[0, 6:], 2 * 200 / 255 - 1, atol=1e-4)
    np.testing.assert_allclose(image[0, :2], -1, atol=1e-4)
    np.testing.assert_allclose(image[1], -image[0], atol=1e-4)
    larger, _ = prepare_sample(Sample(rows[None]), replace(FLAT, window=(32, 36)))
    assert larger.shape == (1, 32, 36) and larger[0, 0, 0] == -1


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (1, 8, 6)).astype(np.float32)
    image, _ = prepare_sample(Sample(rows), FLAT)
    np.testing.assert_array_equal(to_intensity(image, FLAT), rows)


def test_shrinking_does_not_alias() -> None:
    stripes = np.tile(np.array([0.0, 255.0], np.float32), 24).reshape(1, 48, 1).repeat(36, 2)
    image, _ = prepare_sample(Sample(stripes), FLAT)
    assert np.abs(image[0, 1:-1]).max() < 0.15


def test_modalities_become_images_of_their_own() -> None:
    two = [Sample(np.stack([np.full((8, 6), v), np.full((8, 6), v + 100)]).astype(np.float32)) for v in (0, 50)]
    prepared = prepare([entry(two[0], "a", 1), entry(two[1], "b", 0)], FLAT, modalities=2)
    assert prepared.ids == ["a/0", "a/1", "b/0", "b/1"] and prepared.array.shape == (4, 1, 8, 6)
    assert prepared.targets is not None and prepared.targets.tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]
    assert to_intensity(prepared.array[:, 0, 0, 0], FLAT).tolist() == [0, 100, 50, 150]
    unclassed = prepare([entry(s) for s in two], FLAT, modalities=2)
    assert unclassed.targets is not None and unclassed.targets.tolist() == [[0], [1], [0], [1]]


def test_a_modality_shares_its_patients_label() -> None:
    sample = organ(0)
    double = Sample(np.concatenate([sample.image] * 2), sample.label, sample.affine)
    prepared = prepare([entry(double)], CUBE, [3, 7], modalities=2)
    assert prepared.labels is not None and len(prepared.labels) == 2
    np.testing.assert_array_equal(prepared.labels[0], prepared.labels[1])


def test_targets_are_kept_if_all_have_one() -> None:
    sample = Sample(np.zeros((1, 8, 6), np.float32))
    known = prepare([entry(sample, n, t) for n, t in (("a", 2), ("b", 0))], FLAT)
    assert known.targets is not None and known.targets.tolist() == [[2], [0]]
    assert prepare([entry(sample, "a", 2), entry(sample, "b")], FLAT).targets is None
    part = known.part([1])
    assert part.ids == ["b"] and part.targets is not None and part.targets.tolist() == [[0]] and part.labels is None


def test_what_cannot_be_prepared_is_named() -> None:
    grey, colour = (Sample(np.zeros((n, 8, 6), np.float32)) for n in (1, 3))
    with pytest.raises(VolumeError, match="scan7 is 2D; the model makes 3D images"):
        prepare([entry(grey, "scan7")], CUBE)
    many = Sample(np.zeros((1, 8, 6), np.float32), np.full((8, 6), 300, np.uint16))
    with pytest.raises(VolumeError, match="scan7 has label values outside 0 to 255"):
        prepare([entry(many, "scan7")], FLAT, values=[1])
    with pytest.raises(VolumeError, match="scan7 has no label map"):
        prepare([entry(grey, "scan7")], FLAT, [1])
    with pytest.raises(VolumeError, match="images of 1 and 3 channels; all must have as many"):
        prepare([entry(grey, "a"), entry(colour, "b")], FLAT)
    with pytest.raises(VolumeError, match="images of 3 channels; 2 are needed"):
        prepare([entry(colour)], FLAT, modalities=2)


def test_reading_can_be_stopped() -> None:
    class Stop(Monitor):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        prepare([entry(Sample(np.zeros((1, 8, 6), np.float32)))], FLAT, monitor=Stop())


def test_a_made_volume_is_centred_on_the_origin() -> None:
    volume = to_volume(np.zeros((4, 5, 6)), SynthesisPreprocess((4, 5, 6), (2.0, 1.0, 0.5)), None)
    assert volume.spacing.tolist() == [2.0, 1.0, 0.5]
    np.testing.assert_allclose(volume.affine @ [1.5, 2, 2.5, 1], [0, 0, 0, 1])
    picture = to_volume(np.zeros((4, 5)), FLAT, None)
    assert picture.shape == (4, 5, 1)
    assert (picture.affine @ [1, 0, 0, 0])[0] < 0 and (picture.affine @ [0, 1, 0, 0])[1] < 0  # to the left, to the back

"""A trained model on images of any size and orientation: heat where it belongs, honest scores, findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel.orientations as orientations
import numpy as np
import pytest

from tests.trainers.anomaly.world import AFFINE, SIZE, picture, volume
from trainers.data.sets import Sample
from trainers.data.volumes import Volume, VolumeError
from trainers.spec import ModelNotAvailable, ModelSpec, weights_checksum
from trainers.tasks.anomaly.calibration import Calibration, CalibrationError
from trainers.tasks.anomaly.findings import find
from trainers.tasks.anomaly.infer import Detector
from trainers.tasks.anomaly.methods import METHODS

SCREEN = np.diag([-1.0, -1.0, 1.0, 1.0])


def slice_of(array: np.ndarray) -> Volume:
    return Volume(array[..., None], SCREEN)


def test_an_ill_picture_is_hot_where_it_is_ill_and_seldom(model: Path) -> None:
    detector = Detector(model)
    ill, healthy = (detector({"image": slice_of(picture(900 + i, bool(i)))}, 0.2) for i in (1, 0))
    heat = ill.heat.array[..., 0]
    assert heat.shape == SIZE and heat[6:14, 4:12].mean() > 2 * np.delete(heat, np.s_[4:16], 0).mean()
    assert ill.chance == pytest.approx(1 / 13) and ill.score > healthy.score
    first = ill.findings[0]
    assert first.peak == pytest.approx(float(heat.max()), abs=1e-3) and first.one_in == 13
    x, y = -first.place[0], -first.place[1]
    assert 4 <= x <= 15 and 2 <= y <= 13 and len(ill.peaks) == 12


def test_the_threshold_is_that_of_the_rate(model: Path) -> None:
    detector = Detector(model)
    found = detector({"image": slice_of(picture(1))}, 0.2)
    assert np.mean(np.array(found.peaks) > found.threshold) <= 0.2
    strict = detector({"image": slice_of(picture(1))}, 0.01)
    assert strict.false_positives == pytest.approx(1 / 13) and strict.threshold == strict.peaks[-1]
    assert "12 healthy patients cannot promise a false-positive rate of 0.01; it is 0.077." in strict.warnings
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        detector({"image": slice_of(picture(1))}, 0.0)


def test_a_picture_that_lies_otherwise_gets_the_same_heat_there(model: Path) -> None:
    detector = Detector(model)
    straight = detector({"image": slice_of(picture(901, True))})
    turn = orientations.axcodes2ornt(("P", "I", "R"))
    order = orientations.ornt_transform(orientations.io_orientation(SCREEN), turn)
    array = orientations.apply_orientation(straight_image := picture(901, True)[..., None], order)
    affine = SCREEN @ orientations.inv_ornt_aff(order, straight_image.shape)
    turned = detector({"image": Volume(np.ascontiguousarray(array), affine)})
    back = orientations.apply_orientation(
        turned.heat.array, orientations.ornt_transform(turn, orientations.io_orientation(SCREEN))
    )
    np.testing.assert_allclose(back, straight.heat.array, atol=1e-4)
    assert turned.findings[0].place == pytest.approx(straight.findings[0].place)


def test_a_larger_picture_is_looked_at_whole(model: Path) -> None:
    large = np.kron(picture(902, True), np.ones((3, 3), np.float32))
    found = Detector(model)({"image": slice_of(large)})
    assert found.heat.shape == (60, 48, 1) and not any("middle" in warning for warning in found.warnings)
    assert found.heat.array[18:42, 12:36].mean() > 2 * found.heat.array[:9].mean()


def test_several_slices_are_refused(model: Path) -> None:
    with pytest.raises(VolumeError, match="looks at one picture, not 20 x 16 x 3 voxels"):
        Detector(model)({"image": Volume(np.zeros((20, 16, 3), np.float32), np.eye(4))})


def test_a_volume_in_any_orientation_gets_the_same_heat_there(volume_model: Path) -> None:
    detector = Detector(volume_model)
    straight = detector({"image": Volume(volume(7), AFFINE)}, 0.2)
    order = np.array([[2, -1], [0, 1], [1, -1]], float)
    array = orientations.apply_orientation(volume(7), order)
    turned = detector(
        {"image": Volume(np.ascontiguousarray(array), AFFINE @ orientations.inv_ornt_aff(order, volume(7).shape))}, 0.2
    )
    np.testing.assert_allclose(orientations.apply_orientation(straight.heat.array, order), turned.heat.array, atol=1e-3)
    assert straight.heat.array.shape == volume(7).shape and straight.score == pytest.approx(turned.score, abs=1e-3)


def test_of_a_volume_that_is_too_large_the_middle_is_looked_at_and_said(volume_model: Path) -> None:
    large = np.pad(volume(8), 8, mode="edge")
    found = Detector(volume_model)({"image": Volume(large, AFFINE)}, 0.2)
    assert "only its middle, 12 x 16 x 12 mm" in found.warnings[0]
    assert found.heat.array.shape == large.shape and (found.heat.array[:6] == 0).all() and found.heat.array.max() > 0


def test_an_image_of_something_else_is_said_to_be(volume_model: Path) -> None:
    noise = np.random.default_rng(0).normal(500, 200, volume(0).shape).astype(np.float32)
    found = Detector(volume_model)({"image": Volume(noise, AFFINE)}, 0.2)
    assert any("unlike all 10 healthy ones" in warning for warning in found.warnings)


def test_looking_twice_never_adds_heat(model: Path) -> None:
    detector, image = Detector(model), {"image": slice_of(picture(903, True))}
    once, twice = detector(image, 0.2), detector(image, 0.2, refine=True)
    assert (twice.heat.array <= once.heat.array + 1e-5).all() and once.score == twice.score
    cold = once.heat.array < once.threshold
    np.testing.assert_allclose(twice.heat.array[cold], once.heat.array[cold])


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_looks_in_the_same_way(model: Path, method: str) -> None:
    detector = Detector(model, method=method)
    pairs = detector.look([Sample(picture(i)[None]) for i in range(3)])
    assert all(heat.shape == SIZE and np.isfinite(heat).all() and np.isfinite(score) for heat, score in pairs)
    scores, peaks = detector.calibrations()
    assert len(scores.scores) == len(peaks.scores) == 12


def test_batches_do_not_matter(model: Path) -> None:
    detector, samples = Detector(model), [Sample(picture(i)[None]) for i in range(4)]
    together, apart = detector.look(samples), [detector.look([s])[0] for s in samples]
    for (one, a), (other, b) in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert a == pytest.approx(b, abs=1e-4)


def test_a_model_without_calibration_or_method_is_not_available(
    model: Path, volume_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotAvailable, match="no method 'f-anogan'"):
        Detector(volume_model, method="f-anogan")
    spec = replace(ModelSpec.load(model), calibration={})
    detector = Detector.from_network(spec, Detector(model).network)
    with pytest.raises(ModelNotAvailable, match="was not calibrated"):
        detector({"image": slice_of(picture(1))})
    assert weights_checksum(model).startswith("sha256:")


def test_findings_are_connected_places_in_mm_and_ml() -> None:
    heat = np.zeros((10, 10, 10), np.float32)
    heat[1:3, 1:3, 1:3], heat[2, 2, 2] = 2.0, 5.0
    heat[3, 3, 3] = 3.0  # shares a corner
    heat[8, 8, 8] = 4.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    first, second = find(Volume(heat, affine), 2.0, Calibration.of([1.0, 2.0, 4.5]))
    assert (first.voxels, first.volume_ml, first.peak, first.one_in) == (9, 0.072, 5.0, 4)
    assert first.place == (14.0, 24.0, 34.0) and (second.voxels, second.one_in) == (1, 2)
    assert find(Volume(heat, affine), 6.0, Calibration.of([1.0])) == []

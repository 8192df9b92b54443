"""The shipped hippocampus model on real anatomy: both sides, however the head was scanned, and real patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from demo.mni import HIPPOCAMPUS, head
from trainers.data.cases import find_cases
from trainers.data.volumes import Volume
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import Roi, Segmenter, evaluate
from trainers.tasks.segmentation.train import part_ids
from trainers.zoo import SHIPPED

MODEL = SHIPPED / "hippocampus_segmentation" / "v0001"
POINTS = list(HIPPOCAMPUS.values())


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return Segmenter(MODEL)


@pytest.fixture(scope="module")
def upright(model: Segmenter) -> Volume:
    """The label of the template as it is."""
    return model(head(), points=POINTS, test_time_augmentation=False).label


def scanned(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    """The template as a scanner with another grid would have it."""
    to_template = np.linalg.inv(head().affine) @ affine
    array = ndimage.affine_transform(head().array, to_template[:3, :3], to_template[:3, 3], shape, order=1)
    return Volume(array, affine)


def grid(linear: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """An affine whose middle voxel is the middle of the brain."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = np.array([0, -18, 5]) - linear @ (np.array(shape) / 2)
    return affine


def likeness(found: Volume, upright: Volume) -> float:
    """Dice of all labelled voxels, compared on the scan's grid."""
    to_template = np.linalg.inv(upright.affine) @ found.affine
    wanted = ndimage.affine_transform(
        (upright.array > 0).astype(np.float32), to_template[:3, :3], to_template[:3, 3], found.shape, order=1
    )
    both = ((found.array > 0) & (wanted > 0.5)).sum()
    return float(2 * both / ((found.array > 0).sum() + (wanted > 0.5).sum()))


def test_both_sides_are_found_and_alike(upright: Volume) -> None:
    middle = int(np.round(np.linalg.inv(upright.affine) @ [0, 0, 0, 1])[0])
    left, right = (upright.array[:middle] > 0).sum(), (upright.array[middle:] > 0).sum()
    assert 2500 < left < 6500 and 2500 < right < 6500
    assert abs(int(left) - int(right)) < 0.1 * left
    assert set(np.unique(upright.array)) == {0, 1, 2}


TILT = np.array([[1, 0, 0], [0, np.cos(0.5), -np.sin(0.5)], [0, np.sin(0.5), np.cos(0.5)]])
SCANS = {
    "left-handed": (np.diag([-1.0, 1.0, 1.0]), (170, 210, 170)),
    "coronal slices, 1.5 mm": (np.array([[0.9, 0, 0], [0, 0, 1.5], [0, -0.9, 0]]), (190, 190, 140)),
    "fine": (np.diag([0.7, 0.7, 0.7]), (240, 290, 240)),
    "tilted by 29 degrees": (TILT, (180, 230, 230)),
}


@pytest.mark.parametrize("scan", SCANS)
def test_any_scan_of_the_same_head_gives_the_same_hippocampi(model: Segmenter, upright: Volume, scan: str) -> None:
    linear, shape = SCANS[scan]
    found = model(scanned(grid(linear, shape), shape), points=POINTS, test_time_augmentation=False).label
    assert likeness(found, upright) > 0.9


def test_a_region_around_both_finds_both_and_one_elsewhere_none(model: Segmenter, upright: Volume) -> None:
    both = model(head(), roi=Roi((0, -22, -14), (90, 56, 44)), test_time_augmentation=False).label
    assert likeness(both, upright) > 0.9
    beside = model(head(), roi=Roi((50, -22, -14), (10, 10, 10)), test_time_augmentation=False)
    assert not beside.label.array.any() and beside.warnings


@pytest.mark.realdata
def test_real_patients_that_it_was_not_trained_on(real_data: Path) -> None:
    ids = part_ids(ModelSpec.load(MODEL), "test")
    cases = [c for c in find_cases(real_data / "hippocampus") if ids is None or c.id in ids]
    report = evaluate(MODEL, cases[::2], test_time_augmentation=False)
    assert report.dice_mean > 0.86 and report.hd95_mean < 2

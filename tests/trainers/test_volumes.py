"""Files become volumes with the right geometry, and bad files become reasons."""

from __future__ import annotations

import gzip
import struct
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainers.data.volumes import (
    Limits,
    Volume,
    VolumeError,
    check_file,
    read_label,
    read_volume,
    same_grid,
    write_volume,
)


def oblique(angle: float = 0.3, spacing: tuple[float, ...] = (0.9, 1.1, 2.5)) -> np.ndarray:
    affine = np.eye(4)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine[:3, :3] = np.array(turn) @ np.diag(spacing) @ np.diag([-1, 1, 1])
    affine[:3, 3] = [12.5, -30, 4]
    return affine


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_round_trip_keeps_voxels_type_and_oblique_geometry(tmp_path: Path, suffix: str, dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    path = tmp_path / f"a{suffix}"
    write_volume(path, Volume(array, oblique()))
    back = read_volume(path)
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, array)
    np.testing.assert_allclose(back.affine, oblique(), atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_affines_are_nibabels(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), oblique()), tmp_path / "n.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "n.nii.gz").affine, oblique(), atol=1e-4)


def test_nrrd_keeps_metadata(tmp_path: Path) -> None:
    import SimpleITK as sitk

    write_volume(tmp_path / "s.nrrd", Volume(np.ones((3, 3, 3), np.float32), np.eye(4)), {"MedGAN.Synthetic": "yes"})
    assert sitk.ReadImage(str(tmp_path / "s.nrrd")).GetMetaData("MedGAN.Synthetic") == "yes"


def lying_header(shape: tuple[int, int, int] = (2048, 2048, 1024)) -> bytes:
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    return bytes(header)


def make_bad(kind: str, path: Path) -> None:
    good = np.zeros((8, 8, 8), np.float32)
    if kind == "text":
        path.write_text("this is not an image")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "lying":
        path.write_bytes(gzip.compress(lying_header()))
    elif kind == "truncated":
        nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(32, 32, 32)), np.eye(4)), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "nan":
        good[3, 3, 3] = np.nan
        nib.save(nib.Nifti1Image(good, np.eye(4)), path)
    elif kind == "4d":
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 8, 3), np.float32), np.eye(4)), path)
    elif kind == "flat":
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.float32), np.eye(4)), path)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("text", "not_an_image"), ("empty", "not_an_image"), ("lying", "too_large"), ("truncated", "not_an_image"),
        ("nan", "cannot_process"), ("4d", "cannot_process"), ("flat", "cannot_process"), ("missing", "not_an_image"),
    ],
)  # fmt: skip
def test_bad_files_give_a_reason_within_a_second(tmp_path: Path, kind: str, code: str) -> None:
    path = tmp_path / "bad.nii.gz"
    make_bad(kind, path)
    started = time.monotonic()
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    assert caught.value.code == code
    assert caught.value.message and caught.value.hint
    assert time.monotonic() - started < 1


def test_a_lying_header_within_the_limits_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "lie.nii.gz"
    path.write_bytes(gzip.compress(lying_header((512, 512, 512))))
    with pytest.raises(VolumeError, match="too short"):
        check_file(path)


def test_limits_are_the_callers(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nrrd", Volume(np.zeros((9, 9, 9), np.uint8), np.eye(4)))
    with pytest.raises(VolumeError, match="limit"):
        check_file(tmp_path / "a.nrrd", Limits(max_voxels=700))


@pytest.mark.parametrize(
    ("array", "values", "code"),
    [
        (np.full((4, 4, 4), 0.5, np.float32), [1], "wrong_labels"),
        (np.full((4, 4, 4), 9, np.uint8), [1, 2], "wrong_labels"),
        (np.full((4, 4, 4), -1, np.int16), None, "wrong_labels"),
        (np.full((4, 4, 5), 1, np.uint8), [1], "wrong_geometry"),
    ],
)
def test_labels_are_checked(tmp_path: Path, array: np.ndarray, values: list[int] | None, code: str) -> None:
    image = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
    write_volume(tmp_path / "l.nrrd", Volume(array, np.eye(4)))
    with pytest.raises(VolumeError) as caught:
        read_label(tmp_path / "l.nrrd", values, image)
    assert caught.value.code == code


def test_float_labels_with_whole_numbers_are_labels(tmp_path: Path) -> None:
    write_volume(tmp_path / "l.nii.gz", Volume(np.full((4, 4, 4), 2, np.float32), np.eye(4)))
    assert read_label(tmp_path / "l.nii.gz", [1, 2]).array.dtype == np.uint8


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(shift=st.floats(-5, 5), axis=st.integers(0, 2))
def test_same_grid_measures_corners(shift: float, axis: int) -> None:
    moved = np.eye(4)
    moved[axis, 3] = shift
    array = np.zeros((3, 4, 5))
    assert same_grid(Volume(array, np.eye(4)), Volume(array, moved)) == (abs(shift) <= 1e-2)


@pytest.mark.realdata
def test_a_dicom_series_is_read_in_mm(real_data: Path) -> None:
    folder = real_data / "sts_pet_ct_mr" / "dicom_STS_002"
    series = folder / "CT" / "image"
    volume = read_volume(series)
    assert volume.array.ndim == 3 and volume.shape[2] > 20
    assert volume.spacing.min() > 0.2 and volume.spacing.max() < 10

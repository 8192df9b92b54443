"""NIfTI files by a faster gzip are read by everyone, take no memory to write, and damage is noticed."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from trainers.data import nifti
from trainers.data.volumes import NOTES, Volume, VolumeError, encode_volume, read_volume, write_volume

AFFINE = np.array([[-0.7, 0.1, 0.0, 12], [0.1, 0.7, 0.0, -4], [0.0, 0.0, 2.5, 30], [0, 0, 0, 1.0]])
TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)


def noise(dtype: type = np.int16, shape: tuple[int, int, int] = (9, 8, 7), order: str = "F") -> Volume:
    array = np.random.default_rng(0).normal(100, 30, shape).astype(dtype)
    return Volume(np.asarray(array, order=order), AFFINE)  # type: ignore[call-overload]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_simpleitk_and_nibabel_read_what_is_written(tmp_path: Path, suffix: str, compress: bool, dtype: type) -> None:
    for order in "FC":
        volume, path = noise(dtype, order=order), tmp_path / f"{order}{suffix}"
        write_volume(path, volume, {NOTES: "made by a test"}, compress)
        by_itk, by_nibabel = sitk.ReadImage(str(path)), nib.load(path)
        assert np.array_equal(sitk.GetArrayFromImage(by_itk).T, volume.array)
        assert np.array_equal(np.asanyarray(by_nibabel.dataobj), volume.array)
        assert by_nibabel.get_data_dtype() == dtype and by_nibabel.header["descrip"].item() == b"made by a test"
        np.testing.assert_allclose(by_nibabel.affine, AFFINE, atol=1e-5)
        np.testing.assert_allclose(by_nibabel.get_qform(), AFFINE, atol=1e-5)
        np.testing.assert_allclose(read_volume(path).affine, AFFINE, atol=1e-5)


def test_stored_voxels_are_gzip_all_the_same_and_compressed_ones_are_smaller(tmp_path: Path) -> None:
    volume = noise(shape=(64, 64, 40))
    sizes = {}
    for compress in (True, False):
        path = tmp_path / f"{compress}.nii.gz"
        encode_volume(path, volume, None, compress)
        assert gzip.decompress(path.read_bytes())[352:] == volume.array.tobytes(order="F")
        sizes[compress] = path.stat().st_size
    assert (
        sizes[True] < 0.8 * volume.array.nbytes < volume.array.nbytes < sizes[False] < 1.01 * volume.array.nbytes + 400
    )


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("order", ["F", "C"])
def test_writing_takes_no_memory(tmp_path: Path, compress: bool, order: str) -> None:
    volume = noise(np.float32, (128, 128, 128), order)
    tracemalloc.start()
    encode_volume(tmp_path / "a.nii.gz", volume, None, compress)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * nifti.SLAB_BYTES < volume.array.nbytes


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_other_writers_files_are_read(tmp_path: Path, kind: type, endianness: str) -> None:
    array = noise().array
    header = kind.header_class(endianness=endianness)  # type: ignore[attr-defined]
    image = kind(array.astype(array.dtype.newbyteorder(endianness)), AFFINE, header)
    image.header.set_slope_inter(2.0, 5.0)
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.allclose(nifti.read_array(tmp_path / "a.nii.gz"), np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj))


@pytest.mark.parametrize("damage", ["cut", "flipped", "no header"])
def test_damage_is_a_reason(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(path, noise(shape=(40, 40, 40)))
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) * 2 // 3]
    elif damage == "flipped":
        data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    else:
        data = bytearray(gzip.compress(b"no image at all" * 100))
    path.write_bytes(data)
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("offset", [1e6, 1e19, 3e38, float("nan")])
def test_voxels_that_a_header_places_beyond_the_file_are_told(tmp_path: Path, suffix: str, offset: float) -> None:
    write_volume(tmp_path / "image.nii", noise())
    damaged = bytearray((tmp_path / "image.nii").read_bytes())
    damaged[108:112] = struct.pack("<f", offset)
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(gzip.compress(bytes(damaged)) if suffix.endswith("gz") else bytes(damaged))
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(path)

"""Suffixes in capitals, as some scanners and archives write them, are read and written as others are."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.trainers.data.files import ids, scan, volume
from trainers.data.kspace import read_kspace
from trainers.data.readers import open_data, recognise
from trainers.data.readers.patches import Patch, read_patch
from trainers.data.volumes import VolumeError, check_file, read_metadata, read_volume

SPARSE = np.zeros((30, 40, 50), np.int16)  # compresses to far less than its voxels take
SPARSE[1, 2, 3] = 7


def renamed(file: Path, suffix: str) -> Path:
    return file.rename(file.with_name(f"X{suffix.upper()}"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_volumes(tmp_path: Path, suffix: str) -> None:
    file = renamed(volume(tmp_path / f"a{suffix}", SPARSE), suffix)
    assert check_file(file).shape == SPARSE.shape and read_metadata(file) is not None
    (entry,) = open_data(tmp_path).entries
    assert entry.id == "X" and (entry.read().image[0] == SPARSE).all()
    patch = read_patch(file, Patch((1, 4, 9), (3, 3, 3)))
    assert patch.image[0, 1, 1, 1] == 7


@pytest.mark.parametrize("suffix", [".NII", ".NII.GZ", ".NRRD", ".MHA"])
def test_written_volumes(tmp_path: Path, suffix: str) -> None:
    volume(tmp_path / f"X{suffix}", SPARSE)
    assert [file.name for file in tmp_path.iterdir()] == [f"X{suffix}"]
    assert (read_volume(tmp_path / f"X{suffix}").array == SPARSE).all()


def test_scans_of_luna16(tmp_path: Path) -> None:
    file = scan(tmp_path / "subset0/1.2.3.mhd", SPARSE, (0, 0, 0), (1, 1, 1), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    file.rename(file.with_suffix(".MHD"))
    (tmp_path / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,1,2,3,5.0\n")
    assert recognise(tmp_path) == "luna16"
    (entry,) = open_data(tmp_path, patch=(3, 3, 3)).entries
    assert entry.read().image[0, 1, 1, 1] == 7


def test_a_damaged_scan_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.MHD").write_text("no header at all")
    with pytest.raises(VolumeError, match=r"a\.MHD is damaged: a line is no field"):
        check_file(tmp_path / "a.MHD")


def test_archives_of_medmnist(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 4, 4), np.uint8), train_labels=np.zeros((2, 1), int))
    file = (tmp_path / "x.npz").rename(tmp_path / "X.NPZ")
    assert recognise(file) == recognise(tmp_path) == "medmnist"
    assert ids(open_data(tmp_path)) == ids(open_data(file)) == ["train_00000", "train_00001"]


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_kspace(tmp_path: Path, suffix: str) -> None:
    samples = np.random.default_rng(0).normal(size=(12, 10)) + 1j
    if suffix == ".npy":
        np.save(tmp_path / "a.npy", samples)
    else:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["kspace"] = samples[np.newaxis]
    found = read_kspace(renamed(tmp_path / f"a{suffix}", suffix))
    np.testing.assert_allclose(found.samples[0, 0], samples, rtol=1e-6)

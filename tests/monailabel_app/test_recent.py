"""Images of recent requests are kept by content: never stale, never more than the setting, and results by the link."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from monailabel_app import recent
from monailabel_app.infers.result import Part, write_result
from monailabel_app.recent import RecentVolumes
from trainers.data.volumes import Limits, Volume, VolumeError, read_volume, write_volume

ABOUT = {"model": "m", "version": "v0001"}


def written(path: Path, value: int, shape: tuple[int, int, int] = (64, 64, 32)) -> Path:
    """256 KiB of one value."""
    write_volume(path, Volume(np.full(shape, value, np.int16), np.eye(4)))
    return path


def test_a_study_is_decoded_once_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(recent, "read_volume", lambda path, limits: read.append(path.name) or read_volume(path, limits))
    volumes = RecentVolumes(1, tmp_path)
    first = volumes.read(written(tmp_path / "a.nii.gz", 3))
    (tmp_path / "sent.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert volumes.read(tmp_path / "a.nii.gz") is first and volumes.read(tmp_path / "sent.nii.gz") is first
    assert read == ["a.nii.gz"] and (first.array == 3).all()
    with pytest.raises(ValueError, match="read-only"):
        first.array[0, 0, 0] = 1


def test_what_a_client_sent_for_one_request_is_forgotten(tmp_path: Path) -> None:
    volumes = RecentVolumes(4, tmp_path / "studies")
    (tmp_path / "uploads").mkdir()
    assert (volumes.read(written(tmp_path / "uploads" / "a.nii.gz", 3)).array == 3).all()
    assert volumes.megabytes() == 0


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_a_file_that_changed_is_read_anew_whatever_its_size_and_time(tmp_path: Path, suffix: str) -> None:
    volumes, path = RecentVolumes(4, tmp_path), tmp_path / f"a{suffix}"
    for value in (5, 6, 5):
        written(path, value)
        os.utime(path, ns=(10**18, 10**18))
        assert (volumes.read(path).array == value).all()
    path.unlink()
    with pytest.raises(VolumeError):
        volumes.read(path)


def test_what_was_removed_or_replaced_is_not_in_memory(tmp_path: Path) -> None:
    volumes = RecentVolumes(4, tmp_path)
    for name in ("a.nii", "b.nii"):
        volumes.read(written(tmp_path / name, ord(name[0])))
    volumes.read(written(tmp_path / "b.nii", 1))
    assert volumes.megabytes() == 0.5
    (tmp_path / "a.nii").unlink()
    volumes.forget_removed()
    assert volumes.megabytes() == 0.25


def test_what_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes, path = RecentVolumes(4, tmp_path), written(tmp_path / "a.nii", 1)
    before = path.read_bytes()

    def read(file: Path, limits: Limits) -> Volume:
        written(file, 2)
        return read_volume(file, limits)

    monkeypatch.setattr(recent, "read_volume", read)
    assert (volumes.read(path).array == 2).all()
    monkeypatch.undo()
    path.write_bytes(before)
    assert (volumes.read(path).array == 1).all()


def test_memory_is_bounded_and_the_longest_unused_goes(tmp_path: Path) -> None:
    volumes = RecentVolumes(1, tmp_path)
    files = [written(tmp_path / f"{n}.nii", n) for n in range(6)]
    kept = [volumes.read(file) for file in files[:4]]
    assert volumes.megabytes() == 1.0 and volumes.read(files[0]) is kept[0]
    volumes.read(files[4])
    assert volumes.megabytes() == 1.0
    assert volumes.read(files[0]) is kept[0] and volumes.read(files[1]) is not kept[1]
    large = written(tmp_path / "large.nii", 1, (128, 128, 64))
    assert volumes.read(large) is not volumes.read(large) and volumes.megabytes() == 1.0


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    volumes, path = RecentVolumes(0, tmp_path), written(tmp_path / "a.nii", 1)
    assert volumes.read(path) is not volumes.read(path) and volumes.megabytes() == 0


def test_limits_hold_for_what_is_kept(tmp_path: Path) -> None:
    volumes, path = RecentVolumes(4, tmp_path), written(tmp_path / "a.nii", 1)
    volumes.read(path)
    with pytest.raises(VolumeError) as caught:
        volumes.read(path, Limits(max_voxels=100))
    assert caught.value.code == "too_large"


def test_images_are_compressed_for_those_far_away_and_labels_for_all(tmp_path: Path) -> None:
    image = Volume(np.random.default_rng(0).normal(0, 20, (64, 64, 32)).round().astype(np.float32), np.eye(4))
    label = image.like((image.array > 60).astype(np.uint8))
    sizes = {}
    for name, volume in (("image", image), ("label", label)):
        for near in (True, False):
            path = write_result([Part(name, "volume", volume)], ABOUT, ".nii.gz", tmp_path, near)
            assert gzip.decompress(path.read_bytes())[352:] == volume.array.tobytes(order="F")
            sizes[name, near] = path.stat().st_size
    assert sizes["image", False] < 0.7 * sizes["image", True]
    assert sizes["label", False] == sizes["label", True] < 0.1 * label.array.nbytes


def test_a_part_that_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Volume:
        raise MemoryError

    for extension in (".nii.gz", ".zip"):
        with pytest.raises(MemoryError):
            write_result([Part("image", "volume", fail)], ABOUT, extension, tmp_path)
    assert not list(tmp_path.iterdir())

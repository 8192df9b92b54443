"""Finding volumes in folders: files, and folders that unpacking has put around one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.trainers.data.files import ids, volume
from trainers.data.cases import find_cases, find_images, stem
from trainers.data.readers import open_data

ZEROS = np.zeros((4, 5, 6), np.uint8)


def test_a_folder_named_as_a_file_stands_for_the_volume_in_it(tmp_path: Path) -> None:
    inner = volume(tmp_path / "x-t1c.nii/0000_t1c.nii", ZEROS)
    plain = volume(tmp_path / "y.nii.gz", ZEROS)
    assert find_images(tmp_path) == [inner, plain]
    assert [stem(file) for file in find_images(tmp_path)] == ["x-t1c", "y"]
    data = open_data(tmp_path, recursive=True)
    assert len(data.entries) == 2 and all(entry.read().image.shape == (1, 4, 5, 6) for entry in data.entries)


def test_other_folders_named_as_files_are_no_volumes(tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").mkdir()
    (tmp_path / ".hidden.nii").mkdir()
    two = [volume(tmp_path / f"two.nii/{name}.nii", ZEROS) for name in "ab"]
    assert find_images(tmp_path) == []
    assert find_images(tmp_path / "two.nii") == two and [stem(file) for file in two] == ["a", "b"]


def test_a_link_to_nowhere_is_not_left_out_in_silence(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    assert find_images(tmp_path) == [tmp_path / "a.nii.gz"]


def test_pairs_in_folders_named_as_files(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        volume(tmp_path / part / "a.nii/scan.nii", ZEROS)
    (case,) = find_cases(tmp_path)
    assert (case.id, case.image.parts[-3:]) == ("a", ("images", "a.nii", "scan.nii"))
    assert ids(open_data(tmp_path)) == ["a"] and open_data(tmp_path).entries[0].read().label is not None

"""Finding out how a data set is laid out."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.files import ids, volume
from trainers.data.cases import CasesError
from trainers.data.readers import READERS, open_data, recognise


def test_each_layout_is_recognised(tmp_path: Path) -> None:
    volume(tmp_path / "pairs/images/a.nii.gz", np.zeros((4, 4, 4), np.uint8))
    volume(tmp_path / "plain/a.nii.gz", np.zeros((4, 4, 4), np.uint8))
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 4, 4), np.uint8), train_labels=np.zeros((2, 1), int))
    assert recognise(tmp_path / "pairs") == "pairs"
    assert recognise(tmp_path / "plain") == "folders"
    assert recognise(tmp_path / "x.npz") == "medmnist"


def test_an_unknown_layout_tells_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(CasesError) as caught:
        open_data(tmp_path)
    assert all(f"{name}: {reader.layout}" in str(caught.value) for name, reader in READERS.items())


def test_an_ambiguous_layout_asks_for_the_kind(tmp_path: Path) -> None:
    volume(tmp_path / "images/a.nii.gz", np.zeros((4, 4, 4), np.uint8))
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(CasesError, match=r"could be medmnist or pairs\. Name the kind"):
        open_data(tmp_path)
    assert ids(open_data(tmp_path, "pairs")) == ["a"]


def test_nothing_there_and_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        open_data(tmp_path / "gone")
    with pytest.raises(CasesError, match=r"no data reader 'lidc'\. Known: auto, medmnist, pairs"):
        open_data(tmp_path, "lidc")


def test_an_option_that_the_reader_does_not_have(tmp_path: Path) -> None:
    volume(tmp_path / "images/a.nii.gz", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(CasesError, match=r"pairs has no option 'patch'\. Known: patient_pattern"):
        open_data(tmp_path, "pairs", patch=(4, 4, 4))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd"):
        volume(tmp_path / f"a{suffix}", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(CasesError, match=r"1 names occur twice .* a\."):
        open_data(tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "kind", "count", "shape"),
    [
        ("pneumoniamnist", "medmnist", 5232, (1, 28, 28)),
        ("hippocampus", "pairs", 200, (1, 35, 51, 35)),
        ("brats_samples", "brats", 1, (4, 146, 196, 143)),
        ("brain_tumor_mr2d", "folders", 862, (1, 256, 256)),
        ("fundus_dr", "folders", 447, (3, 384, 257)),
        ("sts_pet_ct_mr/dicom_STS_002/CT/image", "folders", 1, (1, 161, 143, 48)),
    ],
)
def test_real_sets_open_by_their_layout(
    real_data: Path, folder: str, kind: str, count: int, shape: tuple[int, ...]
) -> None:
    assert recognise(real_data / folder) == kind
    data = open_data(real_data / folder)
    assert len(data.entries) == count
    sample = pickle.loads(pickle.dumps(data.entries[0])).read()
    assert sample.image.shape == shape
    assert sample.image.dtype == np.float32
    assert len(data.channels) == shape[0] and data.dimensions == len(shape) - 1

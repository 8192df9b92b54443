"""The mark of a synthetic image: it goes with the file, in any format, and only clean text gets out of a header."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monailabel_app.errors import MedGANError
from monailabel_app.synthetic import LARGEST_SEED, Mark, mark_of, mark_told
from trainers.data.volumes import Volume, read_volume, same_grid, write_volume

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
SMALL = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1.0, 1.0, 2.0, 1.0]))
WHOLE = Mark("lung_synthesis", "v0002", 7, "small nodule")

names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
marks = st.builds(
    Mark, names, st.just("v0001"), st.integers(0, LARGEST_SEED), st.none() | st.sampled_from(["nodule", "no nodule"])
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mark=marks)
def test_every_format_keeps_it_and_the_voxels(tmp_path: Path, suffix: str, mark: Mark) -> None:
    path = tmp_path / f"x{suffix}"
    write_volume(path, SMALL, mark.header())
    assert mark_of(path) == mark
    found = read_volume(path)
    assert np.array_equal(found.array, SMALL.array) and same_grid(found, SMALL)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_acquired_images_have_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_volume(path, SMALL, {"MedGAN.Model": "m", "MedGAN.Synthetic": "false", "ITK_FileNotes": "thorax"})
    assert mark_of(path) is None
    path.write_bytes(b"no image")
    assert mark_of(path) is None
    assert mark_of(tmp_path / "missing.nrrd") is None


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_note_too_long_for_nifti_is_still_a_mark(tmp_path: Path, suffix: str) -> None:
    for name, target in (("m" * 100, None), ("m" * 40, "benign" * 9)):
        write_volume(tmp_path / f"x{suffix}", SMALL, Mark(name, "v0001", 1, target).header())
        found = mark_of(tmp_path / f"x{suffix}")
        assert found is not None
        assert found.target is None, "half a class is no class"


def test_a_header_written_by_others_counts_too(tmp_path: Path) -> None:
    for text in ("true", "True", "1", "yes"):
        write_volume(tmp_path / "x.nrrd", SMALL, {"MedGAN.Synthetic": text})
        assert mark_of(tmp_path / "x.nrrd") == Mark()


def test_odd_bytes_in_a_header_become_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    write_volume(path, SMALL, {**WHOLE.header(), "MedGAN.Seed": "-1e9", "MedGAN.Class": "CLASS"}, compress=False)
    path.write_bytes(path.read_bytes().replace(b":=CLASS", b":=a\xff\x07" + b"b" * 500))
    found = mark_of(path)
    assert found is not None and found.seed is None
    text = json.dumps(found.info(), ensure_ascii=False)
    assert text.encode() and text.isascii() and len(found.target or "") <= 128


@pytest.mark.parametrize("nothing", [{}, {"synthetic": None}, {"synthetic": False}])
def test_nothing_told(nothing: dict[str, object]) -> None:
    assert mark_told(nothing) is None


def test_told() -> None:
    assert mark_told({"synthetic": {**WHOLE.info(), "more": 1}}) == WHOLE
    assert mark_told({"synthetic": {**GOOD, "class": None}}) == Mark("m", "v0001", 1)
    assert mark_told({"synthetic": {"model": "", "version": "", "seed": None, "class": None}}) == Mark()


GOOD = {"model": "m", "version": "v0001", "seed": 1}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "synthetic"),
        ("yes", "synthetic"),
        ([], "synthetic"),
        ({**GOOD, "seed": -1}, "seed"),
        ({**GOOD, "seed": 1.5}, "seed"),
        ({**GOOD, "seed": 2**31}, "seed"),
        ({**GOOD, "class": 3}, "class"),
        ({**GOOD, "model": "../x"}, "model"),
        ({**GOOD, "version": "v1\nMedGAN.Seed:=3"}, "version"),
    ],
)
def test_what_cannot_be_a_mark_is_refused_by_name(value: object, name: str) -> None:
    with pytest.raises(MedGANError, match=name) as caught:
        mark_told({"synthetic": value})
    assert caught.value.status_code == 400

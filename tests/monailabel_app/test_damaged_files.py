"""Damage that has a story: each of these files once did harm, or would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from file_readers import dicom, entry, npy, run_progress, version, volume_file
from memory import MEGABYTES, taken

from monailabel_app.dicom.series import import_series
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.runs import read_run
from monailabel_app.history import LabelHistory
from monailabel_app.registry import RECORD, Registry
from trainers.data.kspace import read_kspace
from trainers.data.volumes import (
    VolumeError,
    check_file,
    read_metadata,
    read_volume,
)
from trainers.spec import SPEC_FILE, ModelNotAvailable, ModelSpec


def test_a_lying_metaimage_header_is_told_before_itk_reads_it(tmp_path: Path) -> None:
    """ITK's reader takes headers at their word: some end the process that reads them."""
    path = volume_file("v.mha")(tmp_path)
    whole = path.read_bytes()
    lies = {b"NDims = 3": [b"NDims = 65536", b"NDims = -1", b"NDims = 2", b"NDims = x"],
            b"DimSize = 6 5 4": [b"DimSize = 6 5", b"DimSize = 6 5 -4", b"DimSize = 6 5 nan", b"DimSize ="],
            b"0 0 0 1\nOffset": [b"0 0 1e308 1\nOffset", b"0 -1e300 0 1\nOffset"],
            b"CompressedData = False": [b"CompressedData = " + b"x" * 5000, b"no field", b"NDims = 3"]}  # fmt: skip
    for told, others in lies.items():
        assert told in whole
        for lie in others:
            path.write_bytes(whole.replace(told, lie))
            with pytest.raises(VolumeError) as caught:
                check_file(path)
            assert caught.value.code == "not_an_image", lie


@pytest.mark.parametrize("part", [b"\x00", b"("])
def test_an_array_whose_header_is_no_text_of_python_is_told(tmp_path: Path, part: bytes) -> None:
    path = npy(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"'descr'", part * 7, 1))
    with pytest.raises(VolumeError):
        read_kspace(path)


def test_k_space_of_no_slices_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.ones((0, 8, 6), np.complex64))
    with pytest.raises(VolumeError, match="is no k-space"):
        read_kspace(tmp_path / "k.npy")


@pytest.mark.parametrize("start", [b"", b"\x00" * 8, b"PK\x03\x04"])
def test_a_nifti_file_without_its_header_is_told(tmp_path: Path, start: bytes) -> None:
    path = volume_file("v.nii")(tmp_path)
    path.write_bytes(start + path.read_bytes()[len(start) + 4 :])
    with pytest.raises(VolumeError):
        read_volume(path)


def test_a_dicom_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    """GDCM would take a gigabyte for such a length before it finds out."""
    path = dicom(tmp_path)
    whole = path.read_bytes()
    place = whole.rindex(b"\xe0\x7f\x10\x00OW") + 8
    path.write_bytes(whole[:place] + (1 << 30).to_bytes(4, "little") + whole[place + 4 :])

    def read() -> None:
        with pytest.raises(VolumeError):
            read_volume(path.parent)

    assert taken(read).megabytes < MEGABYTES
    studies = tmp_path / "studies"
    studies.mkdir()
    path.parent.rename(studies / "scan")
    assert import_series(studies, tmp_path / "data") == [], "the server starts all the same"


def test_a_header_whose_field_has_no_name_in_unicode_is_read(tmp_path: Path) -> None:
    path = volume_file("v.nrrd")(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"space: ", b"odd\xcb:=value\nspace: ", 1))
    assert not any("odd" in name for name in read_metadata(path))


def test_a_header_without_a_place_in_space_is_told(tmp_path: Path) -> None:
    path = volume_file("v.nii")(tmp_path)
    header = bytearray(path.read_bytes())
    header[268:272] = header[280:284] = np.float32(np.nan).tobytes()  # qoffset_x, srow_x
    path.write_bytes(header)
    with pytest.raises(VolumeError):
        check_file(path)


def test_a_version_with_an_unknown_state_or_label_is_not_served(tmp_path: Path) -> None:
    record, spec = version(tmp_path, RECORD), tmp_path / "models" / "m" / "v0001" / SPEC_FILE
    record.write_text(record.read_text().replace("published", "publish3d"))
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "labels": {"a": 1.5}}))
    assert Registry(tmp_path / "models", tmp_path / "models").versions("m")[0].record.state == "refused"
    with pytest.raises(ModelNotAvailable):
        ModelSpec.load(spec.parent)


@pytest.mark.parametrize("text", ["{", "[1]", '{"study": "s", "tag": "final", "number": 1, "info": 5}'])
def test_a_damaged_entry_of_the_history_is_told(tmp_path: Path, text: str) -> None:
    path = entry(tmp_path)
    path.write_text(text)
    with pytest.raises(MedGANError) as caught:
        LabelHistory(tmp_path).entries("study", "final")
    assert (caught.value.status_code, caught.value.code) == (503, "storage_not_available")


@pytest.mark.parametrize("text", ["[1]", "5", '{"state": 5}', '{"model": null}'])
def test_a_run_whose_progress_is_no_progress_is_unknown(tmp_path: Path, text: str) -> None:
    path = run_progress(tmp_path)
    path.write_text(text)
    assert read_run(tmp_path, path.parent.name) is None

"""DICOM series in the studies' folder become studies without the patient's name."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from server_world import crop

from monailabel_app.dicom import forget, import_series, patients, study_name
from monailabel_app.dicom.provenance import source_file
from trainers.data.volumes import read_volume

NAME, PATIENT = "Doe^Jane", "MRN-4711"


def write_series(folder: Path, uid: str, patient: str = PATIENT, slices: int = 6) -> np.ndarray:
    """A small MR series, one file a slice. Returns (x, y, z)."""
    folder.mkdir(parents=True, exist_ok=True)
    array = np.round(crop(0).array[:, :, :slices]).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(slices):
        image = sitk.GetImageFromArray(array[:, :, z].T[None])
        image.SetSpacing((1.0, 1.0, 2.0))
        tags = {
            "0008|0060": "MR", "0010|0010": NAME, "0010|0020": patient, "0020|000e": uid, "0020|000d": "1.2.3",
            "0020|0013": str(z), "0020|0032": f"0\\0\\{2 * z}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"{uid}.{z}", "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        }  # fmt: skip
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}-{z}.dcm"))
        writer.Execute(image)
    return array


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    studies, data = tmp_path / "studies", tmp_path / "studies" / ".medgan"
    (data / "tmp").mkdir(parents=True)
    return studies, data


def test_series_become_studies_once(folders: tuple[Path, Path]) -> None:
    studies, data = folders
    array = write_series(studies / "Doe" / "series1", "1.2.3.1")
    write_series(studies / "Doe" / "mixed", "1.2.3.2")
    write_series(studies / "Doe" / "mixed", "1.2.3.3", patient="other")
    assert set(import_series(studies, data)) == {study_name(f"1.2.3.{n}") for n in (1, 2, 3)}
    image = read_volume(studies / f"{study_name('1.2.3.1')}.nii.gz")
    assert np.array_equal(image.array, array)
    assert np.allclose(image.spacing, (1, 1, 2))
    stamp = (studies / f"{study_name('1.2.3.1')}.nii.gz").stat().st_mtime_ns
    time.sleep(0.02)
    assert import_series(studies, data) == []
    assert (studies / f"{study_name('1.2.3.1')}.nii.gz").stat().st_mtime_ns == stamp


def test_a_study_that_was_removed_does_not_come_back_by_itself(folders: tuple[Path, Path]) -> None:
    studies, data = folders
    write_series(studies / "one", "1.2.3.1")
    write_series(studies / "two", "1.2.3.2")
    import_series(studies, data)
    name, other = (study_name(f"1.2.3.{n}") for n in (1, 2))
    (studies / f"{name}.nii.gz").unlink()
    forget(name, data)
    forget("never-seen", data)
    assert import_series(studies, data) == [] and not (studies / f"{name}.nii.gz").exists()
    assert set(patients(data)) == {other} and not source_file(data, name).exists()
    (studies / f"{other}.nii.gz").unlink()
    assert import_series(studies, data) == [other], "a file that is lost is made again"


def test_patients_are_kept_apart_under_pseudonyms(folders: tuple[Path, Path]) -> None:
    studies, data = folders
    for number, patient in enumerate([PATIENT, PATIENT, "other"]):
        write_series(studies / f"s{number}", f"1.2.3.{number}", patient=patient)
    import_series(studies, data)
    known = patients(data)
    same, again, other = (known[study_name(f"1.2.3.{n}")] for n in range(3))
    assert same == again != other
    text = "".join(p.read_text(errors="replace") for p in [*data.rglob("*"), *studies.glob("*.nii.gz")] if p.is_file())
    assert PATIENT not in text + str(known) and "Doe" not in text
    assert (data / "secret").stat().st_mode & 0o077 == 0


def test_what_cannot_be_read_is_left_out(folders: tuple[Path, Path]) -> None:
    studies, data = folders
    write_series(studies / "broken", "1.2.3.9")
    for file in (studies / "broken").iterdir():
        file.write_bytes(file.read_bytes()[:-600])
    (studies / "text").mkdir()
    (studies / "text" / "a.dcm").write_text("no")
    write_series(studies / "good", "1.2.3.8")
    assert import_series(studies, data) == [study_name("1.2.3.8")]
    assert [p.name for p in studies.glob("*.nii.gz")] == [f"{study_name('1.2.3.8')}.nii.gz"]

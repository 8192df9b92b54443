"""The way there and back through a real archive: pull, label, push, and read again from the archive."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_world import (
    ACCESSION,
    DIRECTIONS,
    NAME,
    PATIENT,
    Orthanc,
    Series,
    in_space,
    label_of,
    make_series,
    orthanc,
    same_in_space,
    segments_of,
    volume_of,
)  # fmt: skip
from dicomweb_client.web import DICOMwebClient
from fastapi.testclient import TestClient
from pydicom.dataset import Dataset
from server_world import client_of, error
from typer.testing import CliRunner

from monailabel_app.__main__ import cli
from monailabel_app.config import ServerConfig
from monailabel_app.dicom import import_series, study_name
from monailabel_app.dicom.pull import follow, pull
from monailabel_app.dicom.web import Archive
from monailabel_app.errors import MedGANError
from trainers.data.volumes import Volume, read_volume, write_volume

MODEL = "hippocampus_segmentation"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as live:
        yield live


@dataclass
class Site:
    """A server beside the archive."""

    config: ServerConfig
    archive: Orthanc
    client: TestClient

    def pulled(self, series: Series) -> str:
        self.archive.fill(series)
        pull(self.config, Archive.of(self.archive.url, self.archive.environment), {}, [series.uid])
        return study_name(series.uid)

    def image(self, study: str) -> Volume:
        return read_volume(self.config.studies / f"{study}.nii.gz")

    def submit(self, study: str, folder: Path) -> Volume:
        """A label of the study, sent as a client does."""
        label = label_of(self.image(study))
        write_volume(folder / "label.nii.gz", label)
        data = {"params": json.dumps({"model": MODEL, "author": "Dr A"})}
        files = {"label": ("l.nii.gz", (folder / "label.nii.gz").read_bytes())}
        assert self.client.put("/datastore/label", params={"image": study}, data=data, files=files).status_code == 200
        return label

    def export(self, study: str, file: Path | None = None, **query: Any) -> Any:
        files = {"file": (file.name, file.read_bytes())} if file else None
        return self.client.post("/dicom/export", params={"image": study, **query}, files=files)

    def stored(self, told: dict[str, Any]) -> list[Dataset]:
        """What the archive has of a series, by position in it."""
        found = self.web().retrieve_series(told["study"], told["series"])
        return sorted(found, key=lambda d: int(d.InstanceNumber))

    def web(self) -> DICOMwebClient:
        client = DICOMwebClient(self.archive.url)
        client._session.auth = (self.archive.user, self.archive.password)
        return client


@pytest.fixture
def site(archive: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name, value in archive.environment.items():
        monkeypatch.setenv(name, value)
    studies = tmp_path / "studies"
    studies.mkdir()
    config = ServerConfig(studies, studies / ".medgan", dicomweb=archive.url)
    config.prepare()
    return Site(config, archive, client_of(config))


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_label_goes_round(site: Site, tmp_path: Path, direction: str) -> None:
    series = make_series(tmp_path / "scan", direction)
    study = site.pulled(series)
    assert same_in_space(in_space(site.image(study)), in_space(series.volume))
    label = site.submit(study, tmp_path)
    told = site.export(study).json()
    (seg,) = site.stored(told)
    found = segments_of(seg)
    assert set(found) == {1, 2}
    for number, places in found.items():
        wanted = in_space(label.like((label.array == number).astype(np.uint8)))
        assert same_in_space(places, wanted)
    assert told["study"] == series.study and told["modality"] == "SEG" and told["deidentified"] is False


def test_segmentation_tells_what_it_is(site: Site, tmp_path: Path) -> None:
    series = make_series(tmp_path / "scan")
    study = site.pulled(series)
    site.submit(study, tmp_path)
    (stored,) = site.stored(site.export(study).json())
    stored.save_as(tmp_path / "seg.dcm")
    seg = hd.seg.segread(str(tmp_path / "seg.dcm"))
    assert (str(seg.PatientName), seg.PatientID, seg.AccessionNumber) == (NAME, PATIENT, ACCESSION)
    source = {str(pydicom.dcmread(f).SOPInstanceUID) for f in series.folder.iterdir()}
    assert {str(uid) for _, _, uid in seg.get_source_image_uids()} <= source
    assert seg.SeriesDescription.startswith("AI-generated, corrected by a clinician")
    first, second = seg.SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("anterior", "posterior")
    assert first.SegmentAlgorithmType == "SEMIAUTOMATIC" and first.SegmentAlgorithmName == MODEL
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("5366008", "SCT", "Hippocampus")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Anterior"
    assert first.RecommendedDisplayCIELabValue != second.RecommendedDisplayCIELabValue


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_image_goes_round_on_its_own_grid(site: Site, tmp_path: Path, direction: str) -> None:
    series = make_series(tmp_path / "scan", direction)
    study = site.pulled(series)
    result = finer(site.image(study))
    write_volume(tmp_path / "result.nrrd", result, {"MedGAN.Model": "mr_super_resolution", "MedGAN.Version": "v0001"})
    told = site.export(study, tmp_path / "result.nrrd").json()
    datasets = site.stored(told)
    found = volume_of(datasets)
    assert same_in_space(in_space(found), in_space(result), values=float(np.ptp(result.array)) / 65535)
    first = datasets[0]
    assert told["series"] != series.uid and first.StudyInstanceUID == series.study
    assert list(first.ImageType[:2]) == ["DERIVED", "SECONDARY"] and first.BurnedInAnnotation == "NO"
    assert first.SeriesDescription.startswith("AI-generated") and "mr_super_resolution" in first.DerivationDescription
    assert first.ContributingEquipmentSequence[0].Manufacturer == "MedGAN"
    assert str(first.PatientName) == NAME
    again = study_name(told["series"])
    pull(site.config, Archive.of(site.archive.url, site.archive.environment), {}, [told["series"]])
    assert same_in_space(in_space(site.image(again)), in_space(found), values=0.1)
    assert again in site.client.get("/datastore/", params={"output": "all"}).json()["objects"]
    assert "synthetic" in site.client.get("/datastore/image/info", params={"image": again}).json()


def finer(image: Volume) -> Volume:
    """A result with fractions, on half the voxel size."""
    array = np.repeat(np.repeat(np.repeat(image.array, 2, 0), 2, 1), 2, 2).astype(np.float32) / 3 + 0.1
    affine = image.affine.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= affine[:3, :3].sum(1) / 2
    return Volume(array, affine)


def test_download_hides_the_patient_and_asks_nobody(site: Site, tmp_path: Path) -> None:
    series = make_series(tmp_path / "scan")
    study = site.pulled(series)
    label = site.submit(study, tmp_path)
    answer = site.export(study, download=True)
    assert answer.headers["x-medgan-deidentified"] == "true"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        (name,) = bundle.namelist()
        raw = bundle.read(name)
    for word in ("Müller", "Jürgen", PATIENT, ACCESSION, series.uid, series.study, "19511103", "20240229"):
        assert word.encode() not in raw and word.encode("latin-1") not in raw
    seg = pydicom.dcmread(io.BytesIO(raw))
    assert seg.PatientIdentityRemoved == "YES" and seg.PatientID.startswith("patient-")
    assert same_in_space(
        np.concatenate(list(segments_of(seg).values())), in_space(label.like(label.array > 0)), values=1
    )
    again = zipfile.ZipFile(io.BytesIO(site.export(study, download=True).content))
    second = pydicom.dcmread(io.BytesIO(again.read(again.namelist()[0])))
    assert second.StudyInstanceUID == seg.StudyInstanceUID and second.FrameOfReferenceUID == seg.FrameOfReferenceUID
    assert not list(site.config.temporary.iterdir())


def test_folder_import_can_push_too(site: Site, tmp_path: Path) -> None:
    series = make_series(site.config.studies / "scan")
    site.archive.fill(series)
    assert import_series(site.config.studies, site.config.data) == [study_name(series.uid)]
    site.submit(study_name(series.uid), tmp_path)
    (seg,) = site.stored(site.export(study_name(series.uid)).json())
    assert str(seg.PatientName) == NAME and seg.StudyInstanceUID == series.study


def test_pull_fetches_once_and_leaves_no_name(site: Site, tmp_path: Path) -> None:
    series = make_series(tmp_path / "scan")
    study = site.pulled(series)
    archive = Archive.of(site.archive.url, site.archive.environment)
    assert pull(site.config, archive, {}, [series.uid]).known == [study]
    files = [p for p in site.config.studies.rglob("*") if p.is_file()]
    kept = b"".join(p.read_bytes() for p in files)
    for word in (PATIENT, "ller", ACCESSION, "19511103"):
        assert word.encode() not in kept, word
    told = site.config.data / "dicom" / f"{study}.json"
    assert told.stat().st_mode & 0o077 == 0 and series.study in told.read_text()
    assert not list((site.config.data / "dicom").glob("incoming-*"))


def test_what_is_no_volume_is_told_and_others_are_taken(site: Site, tmp_path: Path) -> None:
    study = str(pydicom.uid.generate_uid())
    holes = make_series(tmp_path / "holes", study=study, skip=(2,))
    report = make_series(tmp_path / "report", study=study, Modality="SR")
    good = make_series(tmp_path / "good", study=study)
    for series in (holes, report, good):
        site.archive.fill(series)
    found = pull(site.config, Archive.of(site.archive.url, site.archive.environment), {"StudyInstanceUID": study})
    assert found.new == [study_name(good.uid)]
    assert "missing after image 2 of 6" in found.refused[holes.uid]
    assert "modality is SR" in found.refused[report.uid]


def test_query_and_limit(site: Site, tmp_path: Path) -> None:
    for number in range(3):
        site.archive.fill(make_series(tmp_path / f"s{number}", PatientID="LIMIT"))
    archive = Archive.of(site.archive.url, site.archive.environment)
    assert len(archive.find({"PatientID": "LIMIT"}, 3)) == 3
    with pytest.raises(MedGANError, match="More than 2 series"):
        archive.find({"PatientID": "LIMIT"}, 2)
    assert archive.find({"PatientID": "NOBODY"}, 3) == []


@pytest.mark.parametrize(("series", "text"), [("1.2.3.4.5", "has no series"), ("", "Tell which series")])
def test_series_that_is_not_there(site: Site, series: str, text: str) -> None:
    archive = Archive.of(site.archive.url, site.archive.environment)
    with pytest.raises(MedGANError, match=text):
        pull(site.config, archive, {}, [series] if series else [])


def test_wrong_password(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = site.pulled(make_series(tmp_path / "scan"))
    site.submit(study, tmp_path)
    monkeypatch.setenv("MEDGAN_DICOMWEB_PASSWORD", "wrong")
    answer = site.export(study)
    assert error(answer) == (502, "archive_refused")
    assert "refuses this user (401)" in answer.json()["error"]["message"]
    assert "wrong" not in answer.text and site.archive.user not in answer.json()["error"]["message"]


def test_commands(site: Site, tmp_path: Path) -> None:
    series = make_series(tmp_path / "scan")
    site.archive.fill(series)
    where = ["--studies", str(site.config.studies), "--dicomweb", site.archive.url]
    run = CliRunner().invoke(cli, ["pull", *where, "--series", series.uid])
    study = study_name(series.uid)
    assert run.exit_code == 0 and f"new {study}" in run.output
    label = site.submit(study, tmp_path)
    run = CliRunner().invoke(cli, ["push", *where, "--image", study], env={"COLUMNS": "300"})
    assert run.exit_code == 0 and "with the patient's identity" in run.output, run.output
    told = {"study": series.study, "series": run.output.split()[-1]}
    (seg,) = site.stored(told)
    assert len(np.concatenate(list(segments_of(seg).values()))) == np.count_nonzero(label.array)
    out = ["--studies", str(site.config.studies), "--image", study, "--out", str(tmp_path / "seg.zip")]
    run = CliRunner().invoke(cli, ["push", *out])
    assert run.exit_code == 0 and "de-identified" in run.output
    assert PATIENT.encode() not in zipfile.ZipFile(tmp_path / "seg.zip").read("SEG/00001.dcm")


def test_server_pulls_at_start(site: Site, tmp_path: Path) -> None:
    series = make_series(tmp_path / "scan", PatientID="AT-START")
    site.archive.fill(series)
    follow(dataclasses.replace(site.config, dicomweb_query=("PatientID=AT-START",)))
    next(t for t in threading.enumerate() if t.name == "pull").join(60)
    assert study_name(series.uid) in site.client.get("/datastore/", params={"output": "all"}).json()["objects"]

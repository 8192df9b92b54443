"""Reconstructing with the real server and small models of random weights, driven by the code that Slicer runs.

K-space as well, and results as DICOM.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pydicom
import pytest
from MedGANLib import errors
from MedGANLib.client import MedGANClient
from MedGANLib.exports import write_labels
from MedGANLib.kspace import KSpaceFile
from MedGANLib.marks import view_mark
from MedGANLib.scene import Scene
from MedGANLib.volumes import affine, dimensions, image_from_array, is_synthetic, scalar_volumes, server_flipped, voxels
from MedGANLib.workflow import Workflow

from monailabel_app.dicom import study_name
from tests.monailabel_app.dicom_world import NAME, PATIENT, Series, make_series
from tests.monailabel_app.server_world import CLEANER, FASTER, FINER, Server, make_reconstruction, serving
from trainers.data.volumes import Volume, write_volume

from .scenes import GRIDS, add_volume

SUBJECT = "Smith^John"
HEADER = f"""<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><subjectInformation>
<patientName>{SUBJECT}</patientName></subjectInformation></ismrmrdHeader>"""
EDGE = np.array([-0.5, -0.5, -0.5, 1.0])


def magnitude(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return make_series(tmp_path_factory.mktemp("studies") / "scan", "oblique", (16, 18, 10))


@pytest.fixture(scope="module")
def server(series: Series, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = make_reconstruction(tmp_path_factory.mktemp("models"))
    studies = series.folder.parent
    write_volume(studies / "head.nii.gz", Volume(magnitude((16, 18, 10)), GRIDS["oblique"]))
    with serving(studies, models, tmp_path_factory.mktemp("output") / "server.txt") as live:
        yield live


@pytest.fixture
def workflow(server: Server, scene: Scene) -> Iterator[Workflow]:
    one = Workflow(scene=scene, consent=lambda request: True)
    assert one.wait(one.connect(server.url), 60).ok
    yield one
    one.close()


def own_volume(scene: Scene, grid: str) -> Any:
    volume = add_volume(scene, GRIDS[grid], shape=(10, 18, 16))
    volume.SetAndObserveImageData(image_from_array(magnitude((10, 18, 16))))
    return volume


def reconstruct(workflow: Workflow, model: str, volume: Any, **options: Any) -> Any:
    return workflow.wait(workflow.reconstruct(model, {"image": volume}, options), 60)


@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
def test_a_finer_image_of_a_volume_that_is_sent(workflow: Workflow, scene: Scene, grid: str) -> None:
    volume = own_volume(scene, grid)
    made = reconstruct(workflow, FINER, volume, scale="2x")
    image = scene.node(made.image)
    assert sorted(dimensions(image)) == [20, 32, 36]
    far = affine(volume) @ [*(np.array(dimensions(volume)) - 0.5), 1]
    corners = {
        tuple(np.round(affine(image) @ [x, y, z, 1], 3))
        for x in (-0.5, 31.5)
        for y in (-0.5, 35.5)
        for z in (-0.5, 19.5)
    }
    for corner in (affine(volume) @ EDGE, far):
        assert min(np.linalg.norm(np.array(other) - corner) for other in corners) < 0.01, "edges are where they were"
    assert made.consistency.startswith("Averaged back, it equals what was measured to ")
    assert not made.altered and view_mark(image) == "RECONSTRUCTED" and made.warnings == ()
    assert made.largest > 0 and dimensions(scene.node(made.uncertainty)) == dimensions(image)


def test_what_a_gan_altered_is_marked_and_undone(workflow: Workflow, scene: Scene) -> None:
    volume = own_volume(scene, "oblique")
    made = reconstruct(workflow, FINER, volume, strength=0.5)
    assert made.altered and is_synthetic(scene.node(made.image)) and "GAN" in made.warnings[0]
    assert workflow.undo_reconstruction() and scalar_volumes(scene) == [volume]


def test_a_study_of_the_server(workflow: Workflow, scene: Scene) -> None:
    study = workflow.wait(workflow.next_sample(), 60)
    made = reconstruct(workflow, CLEANER, study)
    assert dimensions(scene.node(made.image)) == dimensions(study)
    assert np.allclose(affine(scene.node(made.image)), affine(study), atol=1e-4)
    assert "not checked against a measurement" in made.consistency


def test_a_faster_scan_is_simulated(workflow: Workflow, scene: Scene) -> None:
    made = reconstruct(workflow, FASTER, own_volume(scene, "upright"), acceleration=2, mask="equispaced")
    assert "simulated" in made.warnings[0] and workflow.state.message.kind == "warning"
    assert dimensions(scene.node(made.image)) == (16, 18, 10) and np.isfinite(voxels(scene.node(made.image))).all()


def test_refusals_reach_the_clinician(workflow: Workflow, scene: Scene) -> None:
    volume = own_volume(scene, "upright")
    voxels(volume)[:] = -5
    with pytest.raises(errors.CannotProcess, match="below 0"):
        reconstruct(workflow, CLEANER, volume)
    with pytest.raises(errors.MedGANError, match="must be one of"):
        reconstruct(workflow, FINER, volume, scale="9x")
    assert workflow.state.message.kind == "error" and scalar_volumes(scene) == [volume]


def test_the_server_keeps_nothing_of_k_space_or_of_the_patient_in_its_header(
    workflow: Workflow, scene: Scene, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / f"{SUBJECT}.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.fft.fft2(magnitude((3, 16, 20))).astype(np.complex64)
        file["ismrmrd_header"] = HEADER
    made = workflow.wait(workflow.reconstruct(FASTER, {"image": KSpaceFile(path)}), 60)
    image = scene.node(made.image)
    assert sorted(dimensions(image)) == [3, 16, 20] and image.GetName().startswith("K-space – Finer")
    damaged = tmp_path / f"{SUBJECT} damaged.h5"
    damaged.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(errors.NotAnImage):
        workflow.wait(workflow.reconstruct(FASTER, {"image": KSpaceFile(damaged)}), 60)
    written = [file for file in (*server.studies.rglob("*"), server.output) if file.is_file()]
    assert not [file for file in written if file.suffix in (".h5", ".zip")]
    assert not [file for file in written if SUBJECT.encode() in file.read_bytes()]


def test_a_label_and_an_image_come_back_as_dicom_without_the_patient(
    workflow: Workflow, scene: Scene, server: Server, series: Series, tmp_path: Path
) -> None:
    study = workflow.wait(workflow.open_study(study_name(series.uid)), 60)
    mask = np.zeros(dimensions(study)[::-1], np.uint8)
    mask[2:6, 3:9, 4:8] = 1
    write_labels(mask, affine(study), tmp_path / "label.nrrd", server_flipped(study, server.url))
    MedGANClient(server.url).submit_label(study_name(series.uid), tmp_path / "label.nrrd")
    made = workflow.wait(workflow.save_label_dicom(str(tmp_path)), 60)
    (file,) = Path(made.folder).iterdir()
    seg = pydicom.dcmread(file)
    assert (seg.Modality, seg.PatientIdentityRemoved, len(seg.SegmentSequence)) == ("SEG", "YES", 1)
    assert int(seg.pixel_array.sum()) == int(mask.sum())
    reconstruct(workflow, CLEANER, study)
    made = workflow.wait(workflow.save_image_dicom(str(tmp_path)), 60)
    files = sorted(Path(made.folder).iterdir())
    assert len(files) == 10 and "AI-generated" in pydicom.dcmread(files[0]).SeriesDescription
    for file in tmp_path.rglob("*.dcm"):
        assert NAME.encode("latin-1") not in file.read_bytes() and PATIENT.encode() not in file.read_bytes()


def test_what_cannot_be_given_back_is_told(workflow: Workflow, scene: Scene, series: Series, tmp_path: Path) -> None:
    assert workflow.state.server is not None and workflow.state.server.archive is False
    study = workflow.wait(workflow.open_study("head"), 60)
    reconstruct(workflow, CLEANER, study)
    with pytest.raises(errors.CannotProcess, match="Nothing is known of a DICOM series"):
        workflow.wait(workflow.save_image_dicom(str(tmp_path)), 60)
    known = workflow.wait(workflow.open_study(study_name(series.uid)), 60)
    reconstruct(workflow, CLEANER, known)
    with pytest.raises(errors.NotFound, match="no DICOM archive"):
        workflow.wait(workflow.send_image_dicom(), 60)
    assert not list(tmp_path.iterdir())

"""The whole loop with the real server and the shipped model, driven by the code that the Slicer module uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicer
from MedGANLib import errors
from MedGANLib.exports import label_map
from MedGANLib.scene import Scene
from MedGANLib.segments import LabelTable, segment_ids
from MedGANLib.volumes import affine, load_volume, scalar_volumes
from MedGANLib.workflow import Workflow

from monailabel_app.config import SHIPPED_MODELS
from tests.monailabel_app.server_world import Server, serving
from trainers.data.volumes import write_volume

from .real_studies import LEFT, RIGHT, crop, mirrored, whole_head, write_studies
from .scenes import edit_segment, names

MODEL = "hippocampus_segmentation"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    studies = write_studies(tmp_path_factory.mktemp("studies"))
    with serving(studies, SHIPPED_MODELS, tmp_path_factory.mktemp("output") / "server.txt") as live:
        yield live


@pytest.fixture
def workflow(server: Server, scene: Scene) -> Iterator[Workflow]:
    one = Workflow(scene=scene, consent=lambda request: True)
    assert one.wait(one.connect(server.url), 60).ok
    yield one
    one.close()


def stored_label(server: Server, image_id: str) -> nib.Nifti1Image:
    """Returns the final label that the server has for a study."""
    return nib.load(server.studies / "labels" / "final" / f"{image_id}.nii.gz")


def test_segment_correct_and_submit(workflow: Workflow, server: Server, scene: Scene) -> None:
    """Mirrored, oblique and plain studies: what is submitted is, voxel by voxel, what the clinician sees."""
    for number in range(3):
        volume = workflow.wait(workflow.next_sample("first"), 60)
        assert volume.GetName() == f"case_{number}"
        outcome = workflow.wait(workflow.run_model(MODEL, options={"test_time_augmentation": False}), 120)
        segmentation = scene.node(outcome.segmentation_id)
        assert names(segmentation) == ["anterior", "posterior"]
        correct(segmentation, volume)
        receipt = workflow.wait(workflow.submit(MODEL), 60)
        assert receipt.image == f"case_{number}" and min(receipt.voxels.values()) > 100
        assert_same_places(server, receipt.image, scene.node(outcome.segmentation_id), volume)
    assert len(scalar_volumes(scene)) == 3, "nothing that was open is closed"


def correct(segmentation: object, volume: object) -> None:
    """Cuts 'anterior' off behind a slice, as a clinician would with scissors."""
    mask = label_map(segmentation, volume, LabelTable({"anterior": 1})).array
    mask[: mask.shape[0] // 2] = 0
    edit_segment(segmentation, segment_ids(segmentation)[0], mask, volume)


def assert_same_places(server: Server, image_id: str, segmentation: object, volume: object) -> None:
    """Compares the label at the server with the segments, by the places of the voxels in millimetres."""
    stored = stored_label(server, image_id)
    study = nib.load(server.studies / f"{image_id}.nii.gz")
    assert stored.shape == study.shape and np.allclose(stored.affine, study.affine, atol=1e-3)
    shown = label_map(segmentation, volume, LabelTable({"anterior": 1, "posterior": 2})).array
    for value in (1, 2):
        here = places(np.argwhere(shown == value)[:, ::-1], affine(volume))
        there = places(np.argwhere(np.asarray(stored.dataobj) == value), stored.affine)
        assert here == there


def places(indices: np.ndarray, matrix: np.ndarray) -> set[tuple[int, ...]]:
    """Returns the places of voxels in tenths of a millimetre."""
    points = np.c_[indices, np.ones(len(indices))] @ matrix.T
    return {tuple(point) for point in np.round(10 * points[:, :3]).astype(int).tolist()}


def test_a_whole_head_needs_a_point_and_works_with_one(workflow: Workflow, scene: Scene, tmp_path: Path) -> None:
    head = load_volume(whole_head(tmp_path / "head.nii"), "head", scene)
    with pytest.raises(errors.CannotProcess) as caught:
        workflow.wait(workflow.run_model(MODEL, head), 120)
    assert caught.value.code == "needs_region" and "point" in caught.value.hint and caught.value.id
    points = scene.add("vtkMRMLMarkupsFiducialNode", "points")
    for place in (LEFT, RIGHT):
        points.AddControlPointWorld(*place)
    begun = time.monotonic()
    outcome = workflow.wait(workflow.run_model(MODEL, head, points=points), 120)
    segments = scene.node(outcome.segmentation_id)
    array = label_map(segments, head, LabelTable({"anterior": 1, "posterior": 2})).array
    for place in (LEFT, RIGHT):
        i, j, k = np.round(np.linalg.inv(affine(head)) @ [*place, 1])[:3].astype(int)
        assert array[k - 15 : k + 15, j - 20 : j + 20, i - 12 : i + 12].any()
    assert time.monotonic() - begun < 60


def test_the_interface_is_never_held_up(workflow: Workflow, scene: Scene, tmp_path: Path) -> None:
    """Between two pumps, which a timer makes in Slicer, the main thread is free; no pump may take long."""
    head = load_volume(whole_head(tmp_path / "head.nii"), "head", scene)
    points = scene.add("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPointWorld(*LEFT)
    begun = time.perf_counter()
    job = workflow.run_model(MODEL, head, points=points)
    pauses = [time.perf_counter() - begun]
    while not job.finished:
        begun = time.perf_counter()
        workflow.pump()
        pauses.append(time.perf_counter() - begun)
        time.sleep(0.01)
    assert job.state == "done" and max(pauses) < 1.0, "measured: 0.1 s on an idle computer"


def test_two_clients_at_once(workflow: Workflow, server: Server) -> None:
    """Each has its own scene and gets its own answers."""
    other = Workflow(scene=Scene(slicer.vtkMRMLScene()), consent=lambda request: True)
    other.wait(other.connect(server.url), 60)
    for one in (workflow, other):
        one.wait(one.next_sample("random"), 60)
    jobs = [one.run_model(MODEL) for one in (workflow, other)]
    assert workflow.wait(jobs[0], 120).segment_ids and other.wait(jobs[1], 120).segment_ids
    other.close()


def test_bad_options_come_back_with_a_reason(workflow: Workflow) -> None:
    workflow.wait(workflow.next_sample(), 60)
    with pytest.raises(errors.BadRequest) as caught:
        workflow.wait(workflow.run_model(MODEL, options={"test_time_augmentation": "often"}), 60)
    assert caught.value.code == "bad_option" and "test_time_augmentation" in caught.value.text()


def test_cancel_a_run_on_the_server(workflow: Workflow, scene: Scene, server: Server, tmp_path: Path) -> None:
    head = load_volume(whole_head(tmp_path / "head.nii"), "head", scene)
    points = scene.add("vtkMRMLMarkupsFiducialNode", "points")
    for shift in range(6):
        points.AddControlPointWorld(LEFT[0] + 10 * shift, *LEFT[1:])
    job = workflow.run_model(MODEL, head, points=points)
    time.sleep(0.3)
    workflow.cancel()
    begun = time.monotonic()
    with pytest.raises(errors.Cancelled):
        workflow.wait(job, 5)
    assert time.monotonic() - begun < 1
    points.RemoveAllControlPoints()
    points.AddControlPointWorld(*LEFT)
    quick = {"test_time_augmentation": False}
    again = workflow.wait(workflow.run_model(MODEL, head, quick, points=points), 120)
    assert again.segment_ids, "the server is ready for the next run"


def test_a_local_volume_becomes_a_study(workflow: Workflow, scene: Scene, server: Server, tmp_path: Path) -> None:
    write_volume(tmp_path / "Smith^John.nii.gz", mirrored(crop(9)))
    volume = load_volume(tmp_path / "Smith^John.nii.gz", "Smith^John", scene)
    workflow.wait(workflow.use_volume(volume), 10)
    outcome = workflow.wait(workflow.run_model(MODEL), 120)
    receipt = workflow.wait(workflow.submit(MODEL), 60)
    assert receipt.image.startswith("study-")
    assert not [path for path in server.studies.rglob("*") if "Smith" in path.name]
    stored = stored_label(server, receipt.image)
    shown = label_map(scene.node(outcome.segmentation_id), volume, LabelTable({"anterior": 1, "posterior": 2})).array
    places_there = places(np.argwhere(np.asarray(stored.dataobj) == 1), stored.affine)
    assert places_there == places(np.argwhere(shown == 1)[:, ::-1], affine(volume))


def test_train_to_a_verdict_and_look_at_versions(workflow: Workflow, scene: Scene) -> None:
    for _ in range(2):
        workflow.wait(workflow.next_sample("first"), 60)
        workflow.wait(workflow.run_model(MODEL, options={"test_time_augmentation": False}), 120)
        workflow.wait(workflow.submit(MODEL), 60)
    workflow.wait(workflow.start_training(MODEL, {"max_epochs": 1}), 60)
    waits = workflow.wait(workflow.start_training(MODEL), 60)
    assert (waits.state, waits.position) == ("queued", 1)
    with pytest.raises(errors.Busy):
        workflow.wait(workflow.start_training(MODEL), 60)
    workflow.wait(workflow.cancel_run(waits.run), 60)
    status = workflow.wait_for_training(280)
    assert status.verdict is not None and status.verdict.reason and status.cases["validation"] >= 1
    assert len(status.loss) == 1 and status.metric[0][0] == 0
    versions = workflow.wait(workflow.versions(MODEL), 60)
    assert [version.version for version in versions.versions] == ["v0001", "v0002"]
    assert versions.current == status.verdict.serving
    back = workflow.wait(workflow.roll_back(MODEL, "v0001"), 60)
    assert back.current == "v0001"

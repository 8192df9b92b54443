"""A scene that changes at an awkward moment: volumes are moved, changed, removed or warped before work is done."""

from __future__ import annotations

import numpy as np
import pytest
from MedGANLib import errors
from MedGANLib.scene import Scene
from MedGANLib.volumes import affine, forget_if_changed, known_id, scalar_volumes, server_affine, voxels
from MedGANLib.workflow import Workflow

from .clinic import Clinic, fails
from .scenes import GRIDS, add_transform, add_volume, rigid
from .test_detecting import THRESHOLD, detect, drawn, listed


def test_a_volume_that_cannot_be_sent_yet_is_the_study_all_the_same(workflow: Workflow, scene: Scene) -> None:
    """Otherwise its results would go into the segmentation of the study before."""
    workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    volume = add_volume(scene, GRIDS["upright"], "warped")
    volume.SetAndObserveTransformNodeID(scene.add("vtkMRMLGridTransformNode", "warp").GetID())
    fails(workflow, workflow.use_volume(volume), errors.TransformedVolume, "non-linear")
    assert workflow.state.study.volume_id == volume.GetID() and workflow.state.study.segmentation_id == ""
    fails(workflow, workflow.run_model("hippocampus"), errors.TransformedVolume)


def test_a_volume_that_was_removed_before_it_was_taken_up(workflow: Workflow, scene: Scene) -> None:
    volume = add_volume(scene, GRIDS["upright"])
    job = workflow.use_volume(volume)
    scene.remove(volume)
    fails(workflow, job, errors.SceneProblem, "not in the scene any more")
    assert workflow.state.study is None


def test_a_changed_copy_is_not_taken_for_the_study(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    first = workflow.wait(workflow.next_sample(), 10)
    voxels(first)[0, 0, 0] += 1
    again = workflow.wait(workflow.next_sample(), 10)
    assert again is not first and known_id(again, clinic.server.url) == "case_1"
    assert known_id(first, clinic.server.url) == "" and len(scalar_volumes(scene)) == 2


def test_what_was_not_foreseen_is_told_too(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow.wait(workflow.next_sample(), 10)
    monkeypatch.setattr("MedGANLib.inferring.check_sendable", lambda volume: 1 / 0)
    fails(workflow, workflow.run_model("hippocampus"), errors.MedGANError, "Unexpected problem")


@pytest.mark.parametrize("action", ["submit", "upload_study"])
def test_what_changes_while_it_is_sent_is_not_what_the_server_has(
    workflow: Workflow, scene: Scene, clinic: Clinic, action: str
) -> None:
    volume = add_volume(scene, clinic.matrix)
    workflow.wait(workflow.use_volume(volume), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    job = workflow.submit("hippocampus") if action == "submit" else workflow.upload_study()
    add_transform(scene, volume, rigid())
    workflow.wait(job, 10)
    assert known_id(volume, clinic.server.url)
    assert np.allclose(server_affine(volume, clinic.server.url), clinic.matrix), "where it was when it was sent"
    workflow.wait(workflow.run_model("hippocampus"), 10)
    voxels(volume)[0, 0, 0] += 1
    assert forget_if_changed(volume)


def test_the_threshold_follows_what_was_moved(studio: Workflow, scene: Scene) -> None:
    study = studio.wait(studio.next_sample(), 10)
    made = detect(studio, study)
    transform = add_transform(scene, study, rigid())
    for node in (scene.node(made.heat), scene.node(made.segmentation)):
        node.SetAndObserveTransformNodeID(transform.GetID())
    assert studio.move_threshold(THRESHOLD + 0.5)
    assert np.array_equal(drawn(scene, made, study), voxels(scene.node(made.heat)) >= THRESHOLD + 0.5)
    found = listed(studio)
    (hottest, *_) = found.hottest
    k, j, i = np.unravel_index(voxels(scene.node(made.heat)).argmax(), voxels(study).shape)
    assert np.allclose(hottest.place, (affine(study) @ [i, j, k, 1])[:3])
    scene.node(made.heat).SetAndObserveTransformNodeID(scene.add("vtkMRMLGridTransformNode", "warp").GetID())
    assert not studio.move_threshold(THRESHOLD) and "non-linear" in studio.state.message.text
    fails(studio, studio.list_findings(), errors.TransformedVolume, "non-linear")

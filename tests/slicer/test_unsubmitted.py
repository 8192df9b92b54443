"""Going on with the next study: corrections that were not submitted are not forgotten in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
from MedGANLib.scene import Scene
from MedGANLib.segments import handwork, segment_ids
from MedGANLib.volumes import affine
from MedGANLib.workflow import Workflow

from .clinic import Clinic
from .scenes import draw_segment, edit_segment, labels

MODEL = "hippocampus"


def offer(clinic: Clinic, name: str) -> None:
    clinic.server.reply("POST", "/activelearning/first", {"id": name, "name": f"{name}.nii.gz"})


def studied(workflow: Workflow, clinic: Clinic, name: str = "case_1") -> tuple[Any, Any]:
    """Takes a study and runs the model; returns the volume and its segmentation."""
    offer(clinic, name)
    volume = workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.run_model(MODEL), 10)
    return volume, workflow._segmentation(volume)


def corrected(volume: Any, segmentation: Any) -> None:
    mask = labels() == 3
    mask[:, :, ::2] = False
    edit_segment(segmentation, segment_ids(segmentation)[0], mask, volume)


def left(workflow: Workflow, clinic: Clinic, name: str = "case_2") -> tuple[str, ...]:
    """Takes the next study; returns what is said of the one before."""
    offer(clinic, name)
    workflow.wait(workflow.next_sample(), 10)
    return workflow.state.message.details


def test_a_result_that_nobody_touched_is_left_in_silence(workflow: Workflow, clinic: Clinic) -> None:
    _, segmentation = studied(workflow, clinic)
    assert handwork(segmentation) == ""
    assert left(workflow, clinic) == () and workflow.state.message.kind == "info"


def test_corrections_that_were_not_submitted_are_told(workflow: Workflow, clinic: Clinic) -> None:
    corrected(*studied(workflow, clinic))
    (said,) = left(workflow, clinic)
    assert "'case_1' were not submitted" in said and workflow.state.message.kind == "warning"


def test_a_segment_drawn_by_hand_counts(workflow: Workflow, clinic: Clinic) -> None:
    volume, segmentation = studied(workflow, clinic)
    draw_segment(segmentation, "mine", np.zeros_like(labels()), affine(volume))
    assert handwork(segmentation) == "", "an empty segment is no work"
    draw_segment(segmentation, "mine too", labels() == 7, affine(volume))
    assert left(workflow, clinic)


def test_what_was_submitted_is_left_in_silence_until_it_is_changed(
    workflow: Workflow, clinic: Clinic, scene: Scene
) -> None:
    volume, segmentation = studied(workflow, clinic)
    corrected(volume, segmentation)
    workflow.wait(workflow.submit(MODEL), 10)
    assert left(workflow, clinic) == ()
    workflow.wait(workflow.use_volume(volume), 10)
    edit_segment(segmentation, segment_ids(segmentation)[0], labels() == 7, volume)
    assert left(workflow, clinic, "case_3")


def test_the_same_study_again_is_not_left(workflow: Workflow, clinic: Clinic) -> None:
    corrected(*studied(workflow, clinic))
    assert left(workflow, clinic, "case_1") == () and "open already" in workflow.state.message.text

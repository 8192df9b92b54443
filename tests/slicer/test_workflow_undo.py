"""Undoing runs, and what becomes of corrections, against a fake server."""

from __future__ import annotations

import numpy as np
from MedGANLib.label_import import REPLACE
from MedGANLib.scene import Scene
from MedGANLib.segments import segment_ids
from MedGANLib.workflow import Workflow

from .clinic import Clinic
from .scenes import (
    SHAPE,
    draw_segment,
    edit_segment,
    names,
)


def test_undo_in_one_step_run_by_run(workflow: Workflow, scene: Scene, clinic: Clinic) -> None:
    workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("hippocampus"), 10)
    segmentation = scene.node(outcome.segmentation_id)
    lesion = draw_segment(segmentation, "lesion", np.ones(SHAPE), clinic.matrix)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert workflow.undo_last() and workflow.state.can_undo
    assert names(segmentation) == ["lesion", "anterior", "posterior"]
    assert workflow.undo_last() and not workflow.state.can_undo
    assert segment_ids(segmentation) == [lesion]
    assert not workflow.undo_last()


def test_undo_forgets_a_segmentation_that_it_removes(workflow: Workflow) -> None:
    workflow.wait(workflow.next_sample(), 10)
    workflow.wait(workflow.run_model("hippocampus"), 10)
    workflow.undo_last()
    assert workflow.state.study.segmentation_id == ""


def test_undo_says_which_corrections_went(workflow: Workflow, scene: Scene) -> None:
    volume = workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("hippocampus"), 10)
    edit_segment(scene.node(outcome.segmentation_id), outcome.segment_ids[0], np.ones(SHAPE), volume)
    workflow.undo_last()
    assert workflow.state.message.details == ("Your corrections of 'anterior' went with it.",)


def test_undo_after_the_segmentation_was_removed(workflow: Workflow, scene: Scene) -> None:
    workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("hippocampus"), 10)
    scene.remove(scene.node(outcome.segmentation_id))
    assert workflow.undo_last()
    again = workflow.wait(workflow.run_model("hippocampus"), 10)
    assert scene.node(again.segmentation_id) is not None


def test_edited_segments_are_kept_unless_told_otherwise(workflow: Workflow, scene: Scene) -> None:
    volume = workflow.wait(workflow.next_sample(), 10)
    outcome = workflow.wait(workflow.run_model("hippocampus"), 10)
    segmentation = scene.node(outcome.segmentation_id)
    edit_segment(segmentation, outcome.segment_ids[0], np.ones(SHAPE), volume)
    kept = workflow.wait(workflow.run_model("hippocampus"), 10)
    assert any("'anterior' was kept" in warning for warning in kept.warnings)
    assert outcome.segment_ids[0] in segment_ids(segmentation)
    workflow.edited = REPLACE
    workflow.wait(workflow.run_model("hippocampus"), 10)
    assert outcome.segment_ids[0] not in segment_ids(segmentation)

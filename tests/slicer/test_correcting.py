"""Corrections by clicks: what is sent, when, and what becomes of the clinician's own edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from MedGANLib.client import MedGANClient
from MedGANLib.corrections import Correction, thinned
from MedGANLib.exports import paint_segments
from MedGANLib.runs import label_table
from MedGANLib.scene import Scene
from MedGANLib.segments import is_edited, model_segments, segment_ids
from MedGANLib.testing.server import TestServer
from MedGANLib.testing.world import MODEL, Refusal
from MedGANLib.volumes import affine, dimensions
from MedGANLib.workflow import Workflow

from .clinic import until
from .scenes import add_transform as move
from .scenes import add_volume, edit_segment, names, rigid

FAR = (4, 4, 4)
"""Index (i, j, k) of a voxel that the model finds nothing at."""


@pytest.fixture
def ready(studio: Workflow) -> Workflow:
    """A workflow whose study has a result."""
    studio.wait(studio.next_sample(), 10)
    studio.wait(studio.run_model(MODEL), 10)
    return studio


def volume_of(workflow: Workflow) -> Any:
    return workflow._volume()


def segmentation_of(workflow: Workflow) -> Any:
    return workflow._segmentation(volume_of(workflow))


def place(workflow: Workflow, voxel: tuple[float, ...] = FAR) -> list[float]:
    """The place (RAS mm) of a voxel (i, j, k) of the study."""
    return list((affine(volume_of(workflow)) @ [*voxel, 1.0])[:3])


def shown(workflow: Workflow) -> np.ndarray:
    """The label map (k, j, i) of the model's segments."""
    node = segmentation_of(workflow)
    chosen = [(segment_id, value) for value, segment_id in model_segments(node, MODEL).items()]
    return paint_segments(node, volume_of(workflow), label_table(workflow.model(MODEL)), chosen)


def settle(workflow: Workflow) -> None:
    until(workflow, lambda: workflow.state.job is None)


def erase(workflow: Workflow, label: str, box: tuple[slice, ...]) -> np.ndarray:
    """Takes a part out of a segment by hand; returns where."""
    node, volume = segmentation_of(workflow), volume_of(workflow)
    segment_id = segment_ids(node)[names(node).index(label)]
    value = workflow.model(MODEL).labels[label]
    before = shown(workflow) == value
    gone = np.zeros_like(before)
    gone[box] = before[box]
    assert gone.any(), "nothing to erase there"
    edit_segment(node, segment_id, before & ~gone, volume)
    return gone


def test_a_click_repairs_the_segment_in_place(ready: Workflow, served: TestServer) -> None:
    node, ids, before = segmentation_of(ready), segment_ids(segmentation_of(ready)), shown(ready)
    assert ready.correct(MODEL, "posterior", [place(ready)])
    settle(ready)
    (click,) = served.world.infer_params[-1]["clicks"]
    assert click["label"] == "posterior"
    np.testing.assert_allclose(click["points"], [place(ready)], atol=1e-6)
    after = shown(ready)
    assert after[FAR[::-1]] == 2 and (after != before).sum() == (after == 2).sum() - (before == 2).sum()
    assert segment_ids(node) == ids, "the segments keep their IDs, so the Segment Editor keeps its choice"
    assert not ready.corrections_wait


def test_all_corrections_travel_each_time_and_a_scribble_is_one(ready: Workflow, served: TestServer) -> None:
    ready.correct(MODEL, "posterior", [place(ready)])
    settle(ready)
    ready.correct(MODEL, "background", [place(ready, (10, 4, 4)), place(ready, (20, 4, 4))])
    settle(ready)
    sent = served.world.infer_params[-1]["clicks"]
    assert [(click["label"], len(click["points"])) for click in sent] == [("posterior", 1), ("background", 2)]


def test_clicks_during_a_request_go_together_into_the_next_one(ready: Workflow, served: TestServer) -> None:
    served.world.infer_seconds, runs = 0.3, len(served.world.infer_params)
    for step in range(5):
        ready.correct(MODEL, "anterior", [place(ready, (4 + step, 4, 4))])
    assert len(ready.state.corrections) == 5
    until(ready, lambda: not ready.corrections_wait and ready.state.job is None)
    counts = [len(params["clicks"]) for params in served.world.infer_params[runs:]]
    assert counts == [1, 5], "one request, then one with all that was clicked meanwhile"


def test_undo_and_clear_ask_the_model_without_them(ready: Workflow, served: TestServer) -> None:
    plain = shown(ready)
    for voxel in (FAR, (40, 50, 35)):
        ready.correct(MODEL, "anterior", [place(ready, voxel)])
        settle(ready)
    assert ready.undo_correction()
    settle(ready)
    assert len(served.world.infer_params[-1]["clicks"]) == 1
    assert shown(ready)[FAR[::-1]] == 1 and shown(ready)[35, 50, 40] == 0
    assert ready.clear_corrections()
    settle(ready)
    assert "clicks" not in served.world.infer_params[-1]
    np.testing.assert_array_equal(shown(ready), plain)
    assert not ready.undo_correction()


def test_what_was_erased_by_hand_stays_erased(ready: Workflow) -> None:
    gone = erase(ready, "anterior", np.s_[18:22, :, :])
    ready.correct(MODEL, "posterior", [place(ready)])
    settle(ready)
    assert not shown(ready)[gone].any() and shown(ready)[FAR[::-1]] == 2
    assert f"kept ({gone.sum()} voxels)" in " ".join(ready.state.message.details)
    ready.correct(MODEL, "posterior", [place(ready, (40, 50, 35))])
    settle(ready)
    assert not shown(ready)[gone].any(), "also through the answer after the next"


def test_what_was_painted_by_hand_stays_painted(ready: Workflow) -> None:
    node = segmentation_of(ready)
    painted = np.zeros(dimensions(volume_of(ready))[::-1], bool)
    painted[30:33, 40:44, 30:34] = True
    segment_id = segment_ids(node)[names(node).index("anterior")]
    edit_segment(node, segment_id, (shown(ready) == 1) | painted, volume_of(ready))
    ready.correct(MODEL, "background", [place(ready)])
    settle(ready)
    assert (shown(ready)[painted] == 1).all()
    assert is_edited(node, model_segments(node, MODEL)[1]), "so a plain run asks before it replaces it"
    assert not is_edited(node, model_segments(node, MODEL)[2])


def test_hand_edits_made_while_the_model_runs_are_kept(ready: Workflow, served: TestServer) -> None:
    served.world.infer_seconds = 0.3
    ready.correct(MODEL, "posterior", [place(ready)])
    gone = erase(ready, "anterior", np.s_[18:22, :, :])
    settle(ready)
    assert not shown(ready)[gone].any()


def test_a_newer_click_beats_an_older_hand_edit(ready: Workflow) -> None:
    gone = erase(ready, "anterior", np.s_[18:22, :, :])
    k, j, i = np.argwhere(gone)[0]
    ready.correct(MODEL, "anterior", [place(ready, (i, j, k))])
    settle(ready)
    assert shown(ready)[k, j, i] == 1 and not shown(ready)[gone].all()


def test_a_segment_that_was_removed_may_come_back(ready: Workflow) -> None:
    node = segmentation_of(ready)
    node.GetSegmentation().RemoveSegment(model_segments(node, MODEL)[2])
    ready.correct(MODEL, "posterior", [place(ready)])
    settle(ready)
    assert sorted(names(node)) == ["anterior", "posterior"]
    assert (shown(ready) == 2).sum() > 100


def test_undo_of_the_run_puts_segments_and_corrections_back(ready: Workflow) -> None:
    gone = erase(ready, "anterior", np.s_[18:22, :, :])
    before = shown(ready)
    ready.correct(MODEL, "posterior", [place(ready)])
    settle(ready)
    ready.undo_last()
    np.testing.assert_array_equal(shown(ready), before)
    assert not shown(ready)[gone].any() and ready.state.corrections == () and not ready.corrections_wait


def test_a_click_outside_the_image_is_refused_here(ready: Workflow, served: TestServer) -> None:
    runs = len(served.world.infer_params)
    assert not ready.correct(MODEL, "anterior", [place(ready, (-3, 4, 4))])
    assert "outside 'case_1'" in ready.state.message.text and ready.state.message.kind == "error"
    assert ready.state.corrections == () and len(served.world.infer_params) == runs


def test_the_servers_word_on_a_place_outside_is_shown(ready: Workflow, served: TestServer) -> None:
    served.world.trouble["/infer"] = Refusal(422, "outside_image", "Correction 1 (anterior) lies outside the image.")
    ready.correct(MODEL, "anterior", [place(ready)])
    settle(ready)
    assert ready.state.message.text.startswith("Correction 1 (anterior) lies outside the image.")
    assert ready.corrections_wait, "it is not lost: the next click sends it again"
    served.world.trouble.clear()
    ready.correct(MODEL, "anterior", [place(ready, (5, 4, 4))])
    settle(ready)
    assert len(served.world.infer_params[-1]["clicks"]) == 2


def test_corrections_go_with_the_study(ready: Workflow, served: TestServer, scene: Scene) -> None:
    ready.correct(MODEL, "anterior", [place(ready)])
    settle(ready)
    ready.wait(ready.use_volume(add_volume(scene, np.eye(4), "another")), 10)
    assert ready.state.corrections == () and not ready.corrections_wait


def test_corrections_travel_with_run_too_and_stay_where_they_belong(ready: Workflow, served: TestServer) -> None:
    """Also when the volume was moved since: places are told in the coordinates of the server's image."""
    ready.correct(MODEL, "anterior", [place(ready)])
    settle(ready)
    first = served.world.infer_params[-1]["clicks"]
    move(ready._scene, volume_of(ready), rigid())
    ready.wait(ready.run_model(MODEL, volume_of(ready)), 10)
    np.testing.assert_allclose(served.world.infer_params[-1]["clicks"][0]["points"], first[0]["points"], atol=1e-6)


def test_a_model_without_corrections_says_so(served: TestServer, scene: Scene) -> None:
    served.world.older = True
    workflow = Workflow(scene=scene)
    workflow.wait(workflow.connect(served.url), 10)
    workflow.wait(workflow.next_sample(), 10)
    assert workflow.model(MODEL).click_labels == ()
    assert not workflow.correct(MODEL, "anterior", [place(workflow)])
    assert "cannot be corrected by clicks" in workflow.state.message.text
    workflow.close()


def test_too_many_corrections_are_refused(ready: Workflow) -> None:
    ready.correct(MODEL, "anterior", [place(ready)])
    ready.state.corrections = ready.state.corrections * 256
    assert not ready.correct(MODEL, "anterior", [place(ready)])
    assert "256 corrections" in ready.state.message.text
    ready.cancel()


def test_a_long_scribble_is_thinned_but_keeps_its_ends() -> None:
    places = [[float(n), 0.0, 0.0] for n in range(5000)]
    few = thinned(places, 1000)
    assert len(few) == 1000 and few[0] == places[0] and few[-1] == places[-1]
    assert thinned(places[:3], 1000) == places[:3]


def test_places_follow_the_image() -> None:
    shift = np.eye(4)
    shift[:3, 3] = (10.0, 0.0, -5.0)
    assert Correction("anterior", ((1.0, 2.0, 3.0),)).places(shift) == [[11.0, 2.0, -2.0]]


def test_quality_is_read(ready: Workflow, served: TestServer, client: MedGANClient) -> None:
    quality = ready.state.last_result.quality
    assert (quality.expected, quality.low, quality.high, quality.light) == (0.87, 0.80, 0.91, "green")
    served.world.quality = None
    ready.wait(ready.run_model(MODEL), 10)
    assert ready.state.last_result.quality is None

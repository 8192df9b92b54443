"""Verdicts on whole studies: what is sent, what is known afterwards, and when it goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from MedGANLib import errors
from MedGANLib.scene import Scene
from MedGANLib.testing.anomaly import ANOMALY
from MedGANLib.testing.server import TestServer
from MedGANLib.testing.world import Refusal
from MedGANLib.verdicts import ABNORMAL, NONE, NORMAL, MarkedStudies
from MedGANLib.volumes import known_id
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails
from .scenes import GRIDS, add_volume


def mark(studio: Workflow, verdict: str, volume: Any = None) -> MarkedStudies:
    return studio.wait(studio.mark_study(ANOMALY, verdict, volume), 10)


def test_a_study_of_the_server(studio: Workflow, served: TestServer, user: Asked) -> None:
    study = studio.wait(studio.next_sample(), 10)
    assert studio.mark_of(ANOMALY, study) == ("case_1", NONE)
    assert mark(studio, NORMAL) == MarkedStudies(1, 0, {"case_1": NORMAL})
    assert served.world.verdicts == {"case_1": NORMAL} and studio.mark_of(ANOMALY, study) == ("case_1", NORMAL)
    assert (studio.state.message.kind, studio.state.message.text) == ("success", "The study is marked normal.")
    assert mark(studio, ABNORMAL) == MarkedStudies(0, 1, {"case_1": ABNORMAL}), "the last word counts"
    assert mark(studio, NONE) == MarkedStudies() and served.world.verdicts == {}
    assert studio.state.message.text == "The mark was taken back."
    assert user.requests == [] and served.world.received == []


def test_those_of_colleagues_are_read(studio: Workflow, served: TestServer) -> None:
    served.world.verdicts.update({"a": NORMAL, "b": NORMAL, "c": ABNORMAL})
    assert studio.wait(studio.read_marks(ANOMALY), 10) == MarkedStudies(2, 1, dict(served.world.verdicts))
    studio.wait(studio.next_sample(), 10)
    assert mark(studio, NORMAL).normal == 3 and studio.state.marked[ANOMALY].studies["c"] == ABNORMAL


def test_a_volume_of_the_scene_is_added_after_consent(
    studio: Workflow, scene: Scene, served: TestServer, user: Asked
) -> None:
    mine = add_volume(scene, GRIDS["upright"], "Smith^John")
    marked = mark(studio, ABNORMAL, mine)
    image = known_id(mine, served.url)
    assert image.startswith("study-") and marked.studies == {image: ABNORMAL}
    assert user.requests[0].stored and "label or verdict" in user.requests[0].sent
    assert "Smith" not in image and b"Smith" not in served.world.studies[image]
    assert not list(studio.folder.glob("*.nrrd")), "no file stays behind"
    mark(studio, NORMAL, mine)
    assert len(user.requests) == 1 and len(served.world.studies) == 2, "it is there now"


def test_without_consent_nothing_is_sent(studio: Workflow, scene: Scene, served: TestServer, user: Asked) -> None:
    user.answer = False
    job = studio.mark_study(ANOMALY, NORMAL, add_volume(scene, GRIDS["upright"]))
    fails(studio, job, errors.ConsentDeclined, "Nothing was sent", said="info")
    assert len(served.world.studies) == 1 and studio.state.marked == {}


def test_it_can_be_tried_again_after_the_upload(studio: Workflow, scene: Scene, served: TestServer) -> None:
    mine = add_volume(scene, GRIDS["upright"])
    served.world.trouble["/verdict"] = Refusal(503, "model_not_available", "Later.", "Wait.")
    fails(studio, studio.mark_study(ANOMALY, NORMAL, mine), errors.MedGANError, "Later")
    assert len(served.world.studies) == 2 and studio.state.marked == {}
    served.world.trouble.clear()
    assert mark(studio, NORMAL, mine).normal == 1 and len(served.world.studies) == 2


def test_a_synthetic_volume_stays_marked_as_such(studio: Workflow, scene: Scene, served: TestServer) -> None:
    mine = add_volume(scene, GRIDS["upright"])
    mine.SetAttribute("MedGAN.Synthetic", "true")
    mark(studio, NORMAL, mine)
    assert list(served.world.synthetic) == [known_id(mine, served.url)]
    assert "marked as synthetic" in studio.state.message.details[0]


def test_what_cannot_be_marked_is_told(studio: Workflow, scene: Scene, served: TestServer) -> None:
    mine = add_volume(scene, GRIDS["upright"])
    fails(studio, studio.mark_study(ANOMALY, NORMAL), errors.SceneProblem, "No volume is chosen")
    fails(studio, studio.mark_study(ANOMALY, NONE, mine), errors.SceneProblem, "does not know this volume")
    fails(studio, studio.mark_study("nothing", NORMAL, mine), errors.NotFound, "no model")
    fails(studio, studio.mark_study("hippocampus_segmentation", NORMAL, mine), errors.NotFound, "look for anomalies")
    study = studio.wait(studio.next_sample(), 10)
    served.world.studies.clear()
    fails(studio, studio.mark_study(ANOMALY, NORMAL, study), errors.NotFound, "no study 'case_1'")


def test_a_server_without_verdicts(studio: Workflow, served: TestServer) -> None:
    served.world.trouble["/verdict"] = Refusal(404, "not_found", "There is no /verdict.")
    said = studio.state.message
    with pytest.raises(errors.NotFound):
        studio.wait(studio.read_marks(ANOMALY), 10)
    assert studio.state.marked == {} and studio.state.message is said, "nobody asked, so nothing is said"


def test_another_server_has_its_own_verdicts(studio: Workflow, served: TestServer) -> None:
    served.world.verdicts["a"] = NORMAL
    studio.wait(studio.read_marks(ANOMALY), 10)
    with TestServer() as other:
        studio.wait(studio.connect(other.url), 10)
        assert studio.state.marked == {}


@pytest.mark.parametrize("answer", [{}, {"normal": None, "studies": None}, {"studies": {"a": ""}}])
def test_a_server_that_says_less(answer: dict[str, Any]) -> None:
    assert MarkedStudies.from_json(answer) == MarkedStudies()

"""Review lists, the next study's reason, label histories, queued training and new versions."""

from __future__ import annotations

import pytest
from MedGANLib import errors
from MedGANLib.client import MedGANClient
from MedGANLib.records import SubmitReceipt, TrainingStatus
from MedGANLib.reviews import Quality, ReviewList
from MedGANLib.scene import Scene
from MedGANLib.servings import Serving
from MedGANLib.testing.running import Run, Version
from MedGANLib.testing.server import TestServer
from MedGANLib.testing.world import MODEL
from MedGANLib.volumes import known_id
from MedGANLib.workflow import Workflow

from .clinic import fails, until
from .fake_server import FakeServer


@pytest.fixture
def clinician(studio: Workflow, served: TestServer) -> Workflow:
    """A connected workflow at a server with four studies."""
    served.world.add_phantoms(4)
    studio.author = "Dr A"
    return studio


def submit(workflow: Workflow, count: int = 1) -> None:
    for _ in range(count):
        workflow.wait(workflow.next_sample(), 10)
        workflow.wait(workflow.run_model(MODEL), 10)
        workflow.wait(workflow.submit(MODEL), 10)


def test_the_review_list_has_the_worst_first(clinician: Workflow, served: TestServer) -> None:
    served.world.expected = {"case_1": 0.84, "case_3": 0.62}
    review = clinician.wait(clinician.read_review(MODEL), 10)
    assert [(study.id, study.light) for study in review.studies[:2]] == [("case_3", "red"), ("case_1", "green")]
    assert [study.expected for study in review.studies[2:]] == [None, None]
    assert (review.scored, review.waiting) == (2, 2) and clinician.state.reviews[MODEL] is review


def test_a_study_of_the_list_is_opened(clinician: Workflow, served: TestServer) -> None:
    volume = clinician.wait(clinician.open_study("case_3"), 10)
    assert volume.GetName() == "case_3" and clinician.state.study.image_id == "case_3"
    downloads = sum("GET /datastore/image" in request for request in served.world.requests)
    clinician.wait(clinician.open_study("case_1"), 10)
    assert clinician.wait(clinician.open_study("case_3"), 10) is volume, "it is open already"
    assert sum("GET /datastore/image" in request for request in served.world.requests) == downloads + 1


def test_a_study_whose_id_looks_like_a_file_name_is_read_all_the_same(clinician: Workflow, served: TestServer) -> None:
    served.world.studies["patient.12"] = served.world.studies["case_1"]
    volume = clinician.wait(clinician.open_study("patient.12"), 10)
    assert volume.GetName() == "patient.12" and known_id(volume, served.url) == "patient.12"


def test_the_servers_strategy_is_taken_and_its_reason_kept(clinician: Workflow, served: TestServer) -> None:
    served.world.expected = {"case_1": 0.62}
    clinician.wait(clinician.next_sample(), 10)
    assert any(request == "POST /activelearning/hybrid" for request in served.world.requests)
    assert clinician.state.offered.reason == "The model expects a Dice of 0.62 on it."
    assert clinician.state.message.hint == clinician.state.offered.reason


def test_undo_submit_and_restore(clinician: Workflow, served: TestServer) -> None:
    submit(clinician)
    until(clinician, lambda: clinician.state.history is not None)
    first = served.world.labels["case_1"]
    assert [(e.number, e.author, e.action) for e in clinician.state.history.entries] == [(1, "Dr A", "submitted")]
    clinician.wait(clinician.submit(MODEL), 10)
    history = clinician.wait(clinician.undo_submit(), 10)
    assert history.entries[-1].action == "restored" and served.world.labels["case_1"] == first
    history = clinician.wait(clinician.undo_submit(), 10)
    assert history.current is None and "case_1" not in served.world.labels
    assert "no final label" in clinician.state.message.text
    fails(clinician, clinician.undo_submit(), errors.Conflict, "nothing to undo")
    history = clinician.wait(clinician.restore_label(1), 10)
    assert history.current == 5 and history.entries[-1].origin == 1 and served.world.labels["case_1"] == first
    until(clinician, lambda: clinician.state.server.labelled == 1)


def test_the_author_goes_with_label_and_training(clinician: Workflow, served: TestServer) -> None:
    submit(clinician, 2)
    clinician.wait(clinician.start_training(MODEL, {"max_epochs": 3}), 10)
    assert [params["author"] for params in served.world.label_params] == ["Dr A", "Dr A"]
    assert served.world.train_requests == [{"max_epochs": 3, "author": "Dr A"}]
    clinician.author = ""
    clinician.wait(clinician.submit(MODEL), 10)
    assert served.world.label_params[-1]["author"] == ""


def test_a_training_that_waits(clinician: Workflow, served: TestServer) -> None:
    submit(clinician, 2)
    clinician.wait(clinician.start_training(MODEL), 10)
    clinician.wait(clinician.start_training(MODEL), 10)
    assert clinician.state.message.text == "The training waits at place 1."
    until(clinician, lambda: bool(clinician.state.training.queue))
    (waiting,) = clinician.state.training.queue
    assert (waiting.model, waiting.position, waiting.author) == (MODEL, 1, "Dr A")
    assert clinician.state.training.running, "the active run is still followed"
    fails(clinician, clinician.start_training(MODEL), errors.Busy)
    clinician.wait(clinician.cancel_run(waiting.run), 10)
    assert clinician.state.training.queue == () and clinician.state.training.running
    until(clinician, lambda: {run.state for run in clinician.state.runs or ()} >= {"cancelled", "training"})


def test_the_waiting_run_is_followed_when_its_turn_comes(
    clinician: Workflow, served: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MedGANLib.learning.TRAINING_POLL_SECONDS", 0.01)
    served.world.pace = 0.01
    submit(clinician, 2)
    clinician.wait(clinician.start_training(MODEL), 10)
    served.world.candidate_dice = 0.88
    clinician.wait(clinician.start_training(MODEL), 10)
    assert clinician.wait_for_training(30).state == "promoted"
    assert served.world.current == "v0003"
    until(clinician, lambda: [run.state for run in clinician.state.runs or ()] == ["promoted", "promoted"])


def test_a_version_that_a_colleague_trained_is_news(clinician: Workflow, served: TestServer) -> None:
    until(clinician, lambda: clinician.state.serving is not None)
    clinician.wait(clinician.poll_serving(), 10)
    assert clinician.state.news == (), "what served already is no news"
    served.world.versions.append(Version("v0002", "fine-tuned", "published", 0.87, "v0001", "Dice 0.82 -> 0.87."))
    served.world.current = "v0002"
    clinician.wait(clinician.poll_serving(), 10)
    (news,) = clinician.state.news
    assert (news.model, news.version, news.reason) == (MODEL, "v0002", "Dice 0.82 -> 0.87.")
    until(clinician, lambda: clinician.model(MODEL).version == "v0002")
    clinician.dismiss_news()
    clinician.wait(clinician.poll_serving(), 10)
    assert clinician.state.news == ()


def test_what_the_clinician_switched_to_is_no_news(clinician: Workflow, served: TestServer) -> None:
    served.world.versions.append(Version("v0002", "fine-tuned", "published", 0.87))
    until(clinician, lambda: clinician.state.serving is not None)
    clinician.wait(clinician.roll_back(MODEL, "v0002"), 10)
    clinician.wait(clinician.poll_serving(), 10)
    assert clinician.state.serving.models[MODEL].version == "v0002" and clinician.state.news == ()


def test_a_training_of_somebody_else_is_found(clinician: Workflow, served: TestServer) -> None:
    until(clinician, lambda: clinician.state.serving is not None and clinician._follow.finished)
    served.world._begin(Run("20261124-080000-cccc", 0.9, author="Dr B", reason="5 new labels"))
    clinician.wait(clinician.poll_serving(), 10)
    until(clinician, lambda: clinician.state.training.running)
    assert (clinician.state.training.author, clinician.state.training.cause) == ("Dr B", "5 new labels")


def test_polling_is_silent_when_the_server_is_away(clinician: Workflow, served: TestServer) -> None:
    until(clinician, lambda: clinician.state.serving is not None)
    message = clinician.state.message
    served.__exit__()
    with pytest.raises(errors.MedGANError):
        clinician.wait(clinician.poll_serving(), 10)
    assert clinician.state.message is message and clinician.state.connected
    assert clinician.poll_serving() is not None, "it is asked again"


def test_an_older_server_does_without(served: TestServer, scene: Scene) -> None:
    served.world.older = True
    workflow = Workflow(scene=scene)
    workflow.wait(workflow.connect(served.url), 10)
    until(workflow, lambda: workflow._watch.finished)
    assert workflow.state.serving is None and workflow.poll_serving() is None
    assert workflow.state.message.kind == "success"
    assert workflow.wait(workflow.read_runs(), 10) is None
    with pytest.raises(errors.ServerTooOld, match="no review list"):
        workflow.wait(workflow.read_review(MODEL), 10)
    workflow.wait(workflow.next_sample(), 10)
    assert workflow.state.offered.reason == ""
    fails(workflow, workflow.undo_submit(), errors.ServerTooOld, "no history")
    workflow.close()


def test_the_runs_may_come_as_a_bare_list(server: FakeServer, client: MedGANClient) -> None:
    server.reply("GET", "/train/runs", [{"run": "r2", "state": "queued", "position": 1}, {"run": "r1"}])
    assert [run.run for run in client.train_runs()] == ["r2", "r1"]
    assert server.requests("GET", "/train/runs")[0].query == {"limit": "20"}


def test_a_stock_server_that_knows_the_path_for_another_method_counts_as_older(
    server: FakeServer, client: MedGANClient
) -> None:
    server.reply("GET", "/train/runs", {"detail": "Method Not Allowed"}, status=405)
    with pytest.raises(errors.ServerTooOld):
        client.train_runs()


@pytest.mark.parametrize("said", [None, {}, {"expected_dice": None}, "good", {"expected_dice": True}])
def test_no_judge_no_quality(said: object) -> None:
    assert Quality.from_params({"quality": said}) is None


def test_records_of_older_answers_have_defaults() -> None:
    assert ReviewList.from_json({}).studies == () and Serving.from_json({}).models == {}
    status = TrainingStatus.from_json({"status": "QUEUED", "medgan": {"position": 2}})
    assert (status.state, status.position, status.running, status.fraction) == ("queued", 2, False, 0.0)
    assert SubmitReceipt.from_json({"medgan": {"training": None}}).history == 0

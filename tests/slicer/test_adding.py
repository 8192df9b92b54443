"""Adding accepted samples to the training studies, against the module's own test server."""

from __future__ import annotations

import threading
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from MedGANLib import errors
from MedGANLib.client import MedGANClient
from MedGANLib.gallery import ADDED, FAILED, THERE, UNTRIED, Gallery, learner_of
from MedGANLib.records import ModelInfo
from MedGANLib.testing import synthesis
from MedGANLib.testing.server import TestServer
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails, until

MODEL = synthesis.SYNTHESIS


def accept(studio: Workflow, *numbers: int) -> Gallery:
    """Generates three samples (seeds 40, 41, 42) and accepts some."""
    gallery = studio.wait(studio.generate(MODEL, {"number": 3, "seed": 40, "class": "atrophy"}), 10)
    for number in numbers:
        studio.judge(True, number)
    return gallery


def add(studio: Workflow) -> dict[int, str]:
    return {number: addition.kind for number, addition in studio.wait(studio.add_accepted(), 10).items()}


def study(gallery: Gallery, number: int) -> str:
    """Returns the id that a sample gets: its seed and a checksum of its files."""
    sample = gallery.samples[number - 1]
    assert sample.label is not None
    checksum = sha256(sample.image.read_bytes() + sample.label.read_bytes()).hexdigest()
    return f"synthetic_{MODEL}_{sample.seed}_{checksum[:8]}"


def test_the_accepted_ones_become_studies(studio: Workflow, served: TestServer, user: Asked) -> None:
    gallery = accept(studio, 1, 3)
    assert add(studio) == {1: ADDED, 3: ADDED}
    world, first, third = served.world, study(gallery, 1), study(gallery, 3)
    assert sorted(world.labels) == [first, third]
    assert world.studies[third] == gallery.samples[2].image.read_bytes(), "byte for byte, header mark and all"
    assert world.labels[third] == gallery.samples[2].label.read_bytes()
    assert world.synthetic[third] == {"model": MODEL, "version": "v0001", "seed": 42, "class": "atrophy"}
    assert any(f"PUT /datastore/label?image={first}&tag=final" in r for r in world.requests)
    assert user.requests == [], "nothing of a patient was sent"
    assert studio.state.message.kind == "success" and "2 synthetic studies were added" in studio.state.message.text
    until(studio, lambda: studio.state.server.synthetic == 2)
    assert studio.state.server.studies == 1 and studio.state.server.labelled == 0, "counted apart"


def test_one_that_is_there_already_does_not_stop_the_others(studio: Workflow, served: TestServer) -> None:
    first = study(accept(studio, 1, 2), 1)
    served.world.studies[first] = b"somebody's"
    assert add(studio) == {1: THERE, 2: ADDED}
    assert served.world.studies[first] == b"somebody's" and first not in served.world.labels
    message = studio.state.message
    assert message.kind == "warning" and "1 synthetic study was added" in message.text
    assert message.details == ("Sample 1 (seed 40): this sample is there already.",)
    assert studio.state.gallery.waiting == ()


def test_one_that_fails_does_not_stop_the_others_and_can_be_tried_again(studio: Workflow, served: TestServer) -> None:
    first = study(accept(studio, 1, 2), 1)
    refuse_label_once(studio, served, first)
    assert add(studio) == {1: FAILED, 2: ADDED}
    assert "The label is empty. Draw it." in studio.state.message.details[0]
    assert studio.state.message.kind == "warning" and [s.number for s in studio.state.gallery.waiting] == [1]
    assert first in served.world.studies and first not in served.world.labels
    assert add(studio) == {1: ADDED}, "its image is there from the first try, its label follows"
    assert first in served.world.labels and studio.state.gallery.waiting == ()


def test_one_seed_makes_other_samples_of_other_classes(studio: Workflow, served: TestServer) -> None:
    first = study(accept(studio, 1), 1)
    assert add(studio) == {1: ADDED}
    assert study(accept(studio, 1), 1) == first
    assert add(studio) == {1: THERE}, "asked for again, it is the same sample"
    other = studio.wait(studio.generate(MODEL, {"number": 1, "seed": 40, "class": "healthy"}), 10)
    studio.judge(True, 1)
    assert add(studio) == {1: ADDED}
    assert sorted(served.world.labels) == sorted([first, study(other, 1)])


def refuse_label_once(studio: Workflow, served: TestServer, name: str) -> None:
    """Lets the first label of a study be refused."""
    client: Any = studio._client
    original = client.submit_label

    def refuse(image_id: str, *args: Any, **more: Any) -> Any:
        if image_id == name:
            client.submit_label = original
            raise errors.CannotProcess("The label is empty.", "Draw it.")
        return original(image_id, *args, **more)

    client.submit_label = refuse


def test_without_a_server_the_rest_is_not_tried(
    studio: Workflow, served: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = accept(studio, 1, 2, 3)
    real, tried = MedGANClient.upload_image, []

    def broken(self: MedGANClient, file: Any, image_id: str, *args: Any, **more: Any) -> str:
        tried.append(image_id)
        if image_id == study(gallery, 2):
            raise errors.ConnectionRefused("Nothing answers.", "Start the server.")
        return real(self, file, image_id, *args, **more)

    monkeypatch.setattr(MedGANClient, "upload_image", broken)
    assert add(studio) == {1: ADDED, 2: FAILED, 3: UNTRIED}
    assert tried == [study(gallery, 1), study(gallery, 2)]
    assert [line.split(":")[0] for line in studio.state.message.details] == ["Sample 2 (seed 41)", "Sample 3 (seed 42)"]


def test_cancel_tells_what_was_added_before(
    studio: Workflow, served: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = accept(studio, 1, 2)
    real, begun = MedGANClient.upload_image, threading.Event()

    def slow(self: MedGANClient, file: Any, image_id: str, *args: Any, **more: Any) -> str:
        if image_id == study(gallery, 2):
            begun.set()
            more["cancel"].wait(10)
            more["cancel"].raise_if_cancelled()
        return real(self, file, image_id, *args, **more)

    monkeypatch.setattr(MedGANClient, "upload_image", slow)
    job = studio.add_accepted()
    until(studio, begun.is_set)
    studio.cancel()
    studio.wait(job, 10)
    assert studio.state.job is None and "Cancelled. 1 synthetic study was added" in studio.state.message.text
    assert [s.number for s in studio.state.gallery.waiting] == [2]


def test_nothing_is_added_unless_something_is_accepted(studio: Workflow, served: TestServer) -> None:
    fails(studio, studio.add_accepted(), errors.SceneProblem)
    accept(studio)
    fails(studio, studio.add_accepted(), errors.SceneProblem, "No sample is accepted")
    assert not any("/datastore/image" in r for r in served.world.requests)


def test_without_labels_nothing_can_be_trained(studio: Workflow) -> None:
    gallery = accept(studio, 1)
    bare = tuple(replace(sample, label=None, labels={}) for sample in gallery.samples)
    studio._update(gallery=replace(studio.state.gallery, samples=bare))
    assert "no labels" in studio.why_not_add()
    fails(studio, studio.add_accepted(), errors.SceneProblem, "cannot be added")


@pytest.mark.parametrize(
    ("change", "possible"),
    [
        ({}, True),
        ({"labels": {"anterior": 1, "posterior": 3}}, False),
        ({"labels": {"front": 1, "posterior": 2}}, False),
        ({"labels": {"anterior": 1, "posterior": 2, "tail": 3}}, False),
        ({"trainable": False}, False),
        ({"task": "anomaly"}, False),
    ],
)
def test_only_what_a_model_can_learn_is_added(change: dict[str, Any], possible: bool) -> None:
    facts = {"task": "segmentation", "trainable": True, "labels": {"posterior": 2, "anterior": 1}, **change}
    model = ModelInfo("m", "M", output="labelmap", **facts)
    assert (learner_of({"anterior": 1, "posterior": 2}, [model]) is model) == possible


def test_it_says_which_labels_no_model_has(studio: Workflow) -> None:
    accept(studio, 1)
    studio._update(models=tuple(replace(m, trainable=False) for m in studio.state.models))
    assert studio.why_not_add().endswith("exactly these labels: anterior (1), posterior (2).")


def test_without_a_connection(studio: Workflow) -> None:
    accept(studio, 1)
    studio.disconnect()
    assert "Connect to the server" in studio.why_not_add()
    fails(studio, studio.add_accepted(), errors.SceneProblem, "no connection")

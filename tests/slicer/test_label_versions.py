"""The version whose answer was corrected travels with the label, where it is known."""

from __future__ import annotations

import numpy as np
import pytest
from MedGANLib.histories import LabelEntry
from MedGANLib.scene import Scene
from MedGANLib.segments import model_version, segment_ids, segment_of
from MedGANLib.testing.running import MODEL, Version
from MedGANLib.testing.server import TestServer
from MedGANLib.volumes import affine, dimensions
from MedGANLib.workflow import Workflow

from .clinic import until
from .scenes import draw_segment


def run(studio: Workflow, scene: Scene) -> object:
    """Runs the model on the server's next study; returns the segmentation."""
    studio.wait(studio.next_sample(), 10)
    return scene.node(studio.wait(studio.run_model(MODEL), 10).segmentation_id)


def told(served: TestServer) -> object:
    return served.world.label_params[-1].get("version")


def test_it_is_sent_and_shown_in_the_history(studio: Workflow, scene: Scene, served: TestServer) -> None:
    served.world.versions.append(Version("v0002", "finetuned", "published", 0.9, "v0001"))
    served.world.current = "v0002"
    run(studio, scene)
    studio.wait(studio.submit(MODEL), 10)
    assert told(served) == "v0002"
    until(studio, lambda: studio.state.history is not None)
    assert studio.state.history is not None and studio.state.history.entries[-1].version == "v0002"


def test_what_was_drawn_by_hand_was_corrected_from_nothing(studio: Workflow, scene: Scene, served: TestServer) -> None:
    volume = studio.wait(studio.next_sample(), 10)
    segmentation = scene.add("vtkMRMLSegmentationNode", "mine")
    mask = np.zeros(dimensions(volume)[::-1], np.uint8)
    mask[10:20, 10:20, 10:20] = 1
    draw_segment(segmentation, "anterior", mask, affine(volume))
    studio.wait(studio.submit(MODEL, segmentation), 10)
    assert "version" not in served.world.label_params[-1]
    until(studio, lambda: studio.state.history is not None)
    assert studio.state.history is not None and studio.state.history.entries[-1].version == ""


def test_segments_of_two_versions_are_of_neither(studio: Workflow, scene: Scene, served: TestServer) -> None:
    segmentation = run(studio, scene)
    assert model_version(segmentation, MODEL) == "v0001" and model_version(segmentation, "another") == ""
    segment_of(segmentation, segment_ids(segmentation)[0]).SetTag("MedGAN.Version", "v0002")
    studio.wait(studio.submit(MODEL), 10)
    assert told(served) is None


@pytest.mark.parametrize(("entry", "version"), [({"number": 1}, ""), ({"number": 1, "version": "v0003"}, "v0003")])
def test_servers_that_tell_and_those_that_do_not(entry: dict[str, object], version: str) -> None:
    assert LabelEntry.from_json(entry).version == version

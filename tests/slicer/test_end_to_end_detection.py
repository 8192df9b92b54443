"""Detecting with the real server and a model that has learned nothing, driven by the code that Slicer runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from MedGANLib import errors
from MedGANLib.scene import Scene
from MedGANLib.volumes import affine, dimensions, image_from_array, scalar_volumes, voxels
from MedGANLib.workflow import Workflow

from tests.monailabel_app.server_world import Server, serving
from tests.trainers.anomaly.world import AFFINE, untrained, volume
from trainers.data.volumes import Volume, write_volume

from .scenes import GRIDS, add_volume

MODEL = "unusual"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = untrained(tmp_path_factory.mktemp("models"))
    studies = tmp_path_factory.mktemp("studies")
    for number in range(11):
        write_volume(studies / f"p{number:02d}.nii.gz", Volume(volume(100 + number), AFFINE))
    with serving(studies, models, tmp_path_factory.mktemp("output") / "server.txt") as live:
        yield live


@pytest.fixture
def workflow(server: Server, scene: Scene) -> Iterator[Workflow]:
    one = Workflow(scene=scene, consent=lambda request: True)
    assert one.wait(one.connect(server.url), 60).ok
    yield one
    one.close()


def spotted(scene: Scene, grid: str) -> Any:
    """A volume with a spot that no healthy one has."""
    node = add_volume(scene, GRIDS[grid], shape=(12, 16, 12))
    array = volume(500).transpose(2, 1, 0).copy()
    array[4:8, 6:10, 4:8] = 3000
    node.SetAndObserveImageData(image_from_array(array))
    return node


def detect(workflow: Workflow, node: Any, **options: Any) -> Any:
    return workflow.wait(workflow.detect(MODEL, {"image": node}, options), 60)


@pytest.mark.parametrize("grid", ["oblique", "upright"])
def test_heat_lies_where_the_volume_does_and_says_what_it_means(workflow: Workflow, scene: Scene, grid: str) -> None:
    node = spotted(scene, grid)
    found = detect(workflow, node, false_positives=0.1)
    heat = scene.node(found.heat)
    assert dimensions(heat) == dimensions(node) and np.allclose(affine(heat), affine(node), atol=1e-3)
    assert found.calibration.healthy == 24 and len(found.calibration.peaks) == 24
    assert found.calibration.share(found.threshold) <= 0.1 + 1 / 25
    assert found.largest == pytest.approx(float(voxels(heat).max()), rel=1e-5)
    hot = int(np.count_nonzero(voxels(heat) >= found.threshold))
    assert sum(spot.voxels for spot in found.findings.largest) == hot or found.findings.count > 50


def test_undo_takes_all_of_it_out_of_the_scene(workflow: Workflow, scene: Scene) -> None:
    node = spotted(scene, "upright")
    detect(workflow, node)
    assert workflow.undo_detection() and scalar_volumes(scene) == [node]


def test_verdicts_feed_a_training_that_calibrates_for_this_site(
    workflow: Workflow, server: Server, scene: Scene
) -> None:
    with pytest.raises(errors.MedGANError, match="marked as normal"):
        workflow.wait(workflow.start_training(MODEL, {"max_epochs": 3}), 60)
    study = workflow.wait(workflow.next_sample(), 60)
    marked = workflow.wait(workflow.mark_study(MODEL, "normal", study), 60)
    assert marked.normal == 1 and list(marked.studies.values()) == ["normal"]
    with server.client() as others:  # colleagues mark the rest
        for number in range(11):
            told = {"verdict": "normal"}
            others.post(f"/verdict/{MODEL}", params={"image": f"p{number:02d}"}, json=told).raise_for_status()
    assert workflow.wait(workflow.read_marks(MODEL), 60).normal == 11
    workflow.wait(workflow.start_training(MODEL, {"max_epochs": 3}), 60)
    over = workflow.wait_for_training(120)
    assert over.state == "promoted" and "Calibrated with 11 normal patients" in over.verdict.reason
    found = detect(workflow, spotted(scene, "upright"), false_positives=0.1)
    assert found.calibration.healthy == 11 and found.version == "v0002"

"""Synthetic studies with the real server and small models of random weights, driven by the code that Slicer runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from MedGANLib import errors
from MedGANLib.gallery import ADDED, THERE
from MedGANLib.scene import Scene
from MedGANLib.volumes import dimensions, is_synthetic, voxels
from MedGANLib.workflow import Workflow

from tests.monailabel_app.server_world import LABELS, PICTURES, SHAPES, Server, make_synthesis, serving
from trainers.networks import build
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights

from .scenes import draw_segment, grid, names


def make_learner(folder: Path) -> Path:
    """Adds a segmentation model, of random weights, that has the labels of the synthesis model."""
    network = {"name": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8]}
    spec = ModelSpec(
        name="tissue",
        task="segmentation",
        title="Tissue",
        description="Light and bright tissue.",
        labels=LABELS,
        network={**network, "strides": [2]},
        preprocess={"spacing": [1.0, 1.0, 1.0], "window": [16, 16, 16]},
    )
    version = folder / "tissue" / "v0001"
    version.mkdir(parents=True)
    spec.save(version)
    save_weights(build(spec.network), version / WEIGHTS_FILE)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = make_synthesis(make_learner(tmp_path_factory.mktemp("models")))
    studies = tmp_path_factory.mktemp("studies")
    with serving(studies, models, tmp_path_factory.mktemp("output") / "server.txt") as live:
        yield live


@pytest.fixture
def workflow(server: Server, scene: Scene) -> Iterator[Workflow]:
    one = Workflow(scene=scene, consent=lambda request: True)
    assert one.wait(one.connect(server.url), 60).ok
    yield one
    one.close()


def test_pictures_of_a_class(workflow: Workflow) -> None:
    gallery = workflow.wait(workflow.generate(PICTURES, {"number": 2, "seed": 5, "class": "pneumonia"}), 60)
    assert [(s.seed, s.class_name, s.label) for s in gallery.samples] == [
        (5, "pneumonia", None),
        (6, "pneumonia", None),
    ]
    volume = workflow.place_sample().volume
    assert sorted(dimensions(volume)) == [1, 12, 16] and is_synthetic(volume)
    assert "no labels" in workflow.why_not_add()
    again = workflow.wait(workflow.generate(PICTURES, {"number": 1, "seed": 5, "class": "pneumonia"}), 60)
    first = voxels(volume).copy()
    assert again and np.array_equal(voxels(workflow.place_sample().volume), first), "the same seed, the same picture"


def test_volumes_are_added_to_the_training_studies(workflow: Workflow, server: Server) -> None:
    workflow.wait(workflow.generate(SHAPES, {"number": 2, "seed": 50}), 120)
    assert workflow.why_not_add() == ""
    workflow.judge(True, 1)
    workflow.judge(True, 2)
    additions = workflow.wait(workflow.add_accepted(), 60)
    assert {addition.kind for addition in additions.values()} == {ADDED}, additions
    info = workflow._client.info()
    assert (info.studies, info.synthetic) == (0, 2), "counted apart"
    workflow.wait(workflow.generate(SHAPES, {"number": 1, "seed": 50}), 120)
    workflow.judge(True)
    assert workflow.wait(workflow.add_accepted(), 60)[1].kind == THERE


def test_a_drawn_shape_is_filled(workflow: Workflow, scene: Scene, server: Server) -> None:
    matrix = grid(np.eye(3))
    segmentation = scene.add("vtkMRMLSegmentationNode", "drawing")
    array = np.zeros((6, 8, 10))
    array[1:4, 2:6, 2:8] = 1
    draw_segment(segmentation, next(iter(LABELS)), array, matrix)
    gallery = workflow.wait(workflow.generate(SHAPES, {"number": 1}, mask=segmentation), 120)
    placed = workflow.place_sample()
    assert gallery.from_shape and names(placed.segmentation) == [next(iter(LABELS))]
    filled = [0.0] * 6
    placed.segmentation.GetRASBounds(filled)
    drawn = [6.5, 12.5, -4.75, 1.25, 4.25, 11.75]  # the faces of the voxels, of 1 x 1.5 x 2.5 mm from (5, -7, 3)
    assert np.allclose(drawn, filled, atol=0.75), "where it was drawn, on the model's voxels of 1 mm"


def test_a_model_that_takes_no_shape_refuses_one(workflow: Workflow, scene: Scene) -> None:
    segmentation = scene.add("vtkMRMLSegmentationNode", "drawing")
    with pytest.raises(errors.SceneProblem, match="takes no shape"):
        workflow.wait(workflow.generate(PICTURES, mask=segmentation), 60)

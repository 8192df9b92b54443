"""Reconstructing with the real server and small models of random weights, driven by the code that Slicer runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from MedGANLib import errors
from MedGANLib.marks import view_mark
from MedGANLib.scene import Scene
from MedGANLib.volumes import affine, dimensions, image_from_array, is_synthetic, scalar_volumes, voxels
from MedGANLib.workflow import Workflow

from tests.monailabel_app.server_world import CLEANER, FASTER, FINER, Server, make_reconstruction, serving
from trainers.data.volumes import Volume, write_volume

from .scenes import GRIDS, add_volume

EDGE = np.array([-0.5, -0.5, -0.5, 1.0])


def magnitude(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = make_reconstruction(tmp_path_factory.mktemp("models"))
    studies = tmp_path_factory.mktemp("studies")
    write_volume(studies / "head.nii.gz", Volume(magnitude((16, 18, 10)), GRIDS["oblique"]))
    with serving(studies, models, tmp_path_factory.mktemp("output") / "server.txt") as live:
        yield live


@pytest.fixture
def workflow(server: Server, scene: Scene) -> Iterator[Workflow]:
    one = Workflow(scene=scene, consent=lambda request: True)
    assert one.wait(one.connect(server.url), 60).ok
    yield one
    one.close()


def own_volume(scene: Scene, grid: str) -> Any:
    volume = add_volume(scene, GRIDS[grid], shape=(10, 18, 16))
    volume.SetAndObserveImageData(image_from_array(magnitude((10, 18, 16))))
    return volume


def reconstruct(workflow: Workflow, model: str, volume: Any, **options: Any) -> Any:
    return workflow.wait(workflow.reconstruct(model, {"image": volume}, options), 60)


@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
def test_a_finer_image_of_a_volume_that_is_sent(workflow: Workflow, scene: Scene, grid: str) -> None:
    volume = own_volume(scene, grid)
    made = reconstruct(workflow, FINER, volume, scale="2x")
    image = scene.node(made.image)
    assert sorted(dimensions(image)) == [20, 32, 36]
    far = affine(volume) @ [*(np.array(dimensions(volume)) - 0.5), 1]
    corners = {
        tuple(np.round(affine(image) @ [x, y, z, 1], 3))
        for x in (-0.5, 31.5)
        for y in (-0.5, 35.5)
        for z in (-0.5, 19.5)
    }
    for corner in (affine(volume) @ EDGE, far):
        assert min(np.linalg.norm(np.array(other) - corner) for other in corners) < 0.01, "edges are where they were"
    assert made.consistency.startswith("Averaged back, it equals what was measured to ")
    assert not made.altered and view_mark(image) == "RECONSTRUCTED" and made.warnings == ()
    assert made.largest > 0 and dimensions(scene.node(made.uncertainty)) == dimensions(image)


def test_what_a_gan_altered_is_marked_and_undone(workflow: Workflow, scene: Scene) -> None:
    volume = own_volume(scene, "oblique")
    made = reconstruct(workflow, FINER, volume, strength=0.5)
    assert made.altered and is_synthetic(scene.node(made.image)) and "GAN" in made.warnings[0]
    assert workflow.undo_reconstruction() and scalar_volumes(scene) == [volume]


def test_a_study_of_the_server(workflow: Workflow, scene: Scene) -> None:
    study = workflow.wait(workflow.next_sample(), 60)
    made = reconstruct(workflow, CLEANER, study)
    assert dimensions(scene.node(made.image)) == dimensions(study)
    assert np.allclose(affine(scene.node(made.image)), affine(study), atol=1e-4)
    assert "not checked against a measurement" in made.consistency


def test_a_faster_scan_is_simulated(workflow: Workflow, scene: Scene) -> None:
    made = reconstruct(workflow, FASTER, own_volume(scene, "upright"), acceleration=2, mask="equispaced")
    assert "simulated" in made.warnings[0] and workflow.state.message.kind == "warning"
    assert dimensions(scene.node(made.image)) == (16, 18, 10) and np.isfinite(voxels(scene.node(made.image))).all()


def test_refusals_reach_the_clinician(workflow: Workflow, scene: Scene) -> None:
    volume = own_volume(scene, "upright")
    voxels(volume)[:] = -5
    with pytest.raises(errors.CannotProcess, match="below 0"):
        reconstruct(workflow, CLEANER, volume)
    with pytest.raises(errors.MedGANError, match="must be one of"):
        reconstruct(workflow, FINER, volume, scale="9x")
    assert workflow.state.message.kind == "error" and scalar_volumes(scene) == [volume]

"""A shape from the scene's segments: its label values, its place, and that nobody's shape is sent without consent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from MedGANLib import errors, state
from MedGANLib.scene import Scene
from MedGANLib.shapes import make_shape, matching_segments
from MedGANLib.testing import synthesis
from MedGANLib.testing.images import read_nrrd
from MedGANLib.testing.server import TestServer
from MedGANLib.volumes import affine
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails
from .scenes import GRIDS, SHAPE, TABLE, add_transform, draw_segment, labels, ras_affine, rigid

MODEL = synthesis.SYNTHESIS


def drawn(scene: Scene, matrix: np.ndarray, names: tuple[str, str] = ("anterior", "posterior")) -> Any:
    """Returns a segmentation as a clinician draws it: two boxes, and a background that is no part of the shape."""
    segmentation = scene.add("vtkMRMLSegmentationNode", "Smith^John segmentation")
    draw_segment(segmentation, "background", np.ones(SHAPE), matrix)
    for name, value in zip(names, (3, 7), strict=True):
        draw_segment(segmentation, name, labels() == value, matrix)
    return segmentation


def places(array: np.ndarray, matrix: np.ndarray, value: int) -> np.ndarray:
    """Returns the sorted places (mm) of the voxels with a value."""
    index = np.argwhere(array == value)[:, ::-1]
    points = index @ matrix[:3, :3].T + matrix[:3, 3]
    rounded = np.round(points, 3)
    return rounded[np.lexsort(rounded.T)]


@pytest.mark.parametrize("name", GRIDS)
def test_a_shape_has_the_models_values_in_the_right_place(scene: Scene, tmp_path: Path, name: str) -> None:
    shape = make_shape(drawn(scene, GRIDS[name]), TABLE)
    shape.write(tmp_path / "shape.nrrd")
    image = sitk.ReadImage(str(tmp_path / "shape.nrrd"))
    array = sitk.GetArrayFromImage(image)
    assert set(np.unique(array)) == {0, 3, 7}
    for value in (3, 7):
        wanted = places(labels(), GRIDS[name], value)
        np.testing.assert_allclose(places(array, ras_affine(image), value), wanted, atol=2e-3)
    box = tuple(int(n) + 2 for n in np.ptp(np.argwhere(labels() > 0), axis=0) + 1)
    assert array.shape == box, "cut to the segments and a margin of one voxel: no more of the patient is sent"


def test_a_transform_moves_the_shape(scene: Scene) -> None:
    segmentation = drawn(scene, GRIDS["upright"])
    add_transform(scene, segmentation, rigid())
    shape = make_shape(segmentation, TABLE)
    wanted = places(labels(), rigid() @ GRIDS["upright"], 7)
    np.testing.assert_allclose(places(shape.labels, affine(shape.grid), 7), wanted, atol=2e-3)


def test_segments_of_any_name_can_be_chosen(scene: Scene) -> None:
    segmentation = drawn(scene, GRIDS["upright"], ("front", "back"))
    ids = {n: i for i in _ids(segmentation) for n in [segmentation.GetSegmentation().GetSegment(i).GetName()]}
    assert matching_segments(segmentation, TABLE) == {}
    with pytest.raises(errors.SceneProblem, match="No segment is chosen"):
        make_shape(segmentation, TABLE)
    shape = make_shape(segmentation, TABLE, {"posterior": ids["front"]})
    assert set(np.unique(shape.labels)) == {0, 7} and (shape.labels == 7).sum() == (labels() == 3).sum()


def _ids(segmentation: Any) -> list[str]:
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]


def test_what_cannot_be_a_shape_is_explained(scene: Scene) -> None:
    segmentation = drawn(scene, GRIDS["upright"])
    empty = draw_segment(segmentation, "empty", np.zeros(SHAPE), GRIDS["upright"])
    with pytest.raises(errors.SceneProblem, match="'empty' is empty"):
        make_shape(segmentation, TABLE, {"anterior": empty})
    with pytest.raises(errors.SceneProblem, match="not there any more"):
        make_shape(segmentation, TABLE, {"anterior": "gone"})
    shear = np.eye(4)
    shear[0, 1] = 0.4
    add_transform(scene, segmentation, shear)
    with pytest.raises(errors.SceneProblem, match="shearing"):
        make_shape(segmentation, TABLE)


# Sending it


def test_a_shape_is_sent_after_consent_only(studio: Workflow, served: TestServer, scene: Scene, user: Asked) -> None:
    segmentation = drawn(scene, GRIDS["oblique"])
    user.answer = False
    fails(studio, studio.generate(MODEL, mask=segmentation), errors.ConsentDeclined, said="info")
    assert not any("/infer" in r for r in served.world.requests)
    (request,) = user.requests
    assert request.kind == state.SHAPE and not request.stored and "shape" in request.sent
    user.answer = True
    gallery = studio.wait(studio.generate(MODEL, {"number": 2}, mask=segmentation), 10)
    array, matrix = read_nrrd(served.world.shapes[0])
    assert served.world.infer_params[-1]["mask"] is True and b"Smith" not in served.world.shapes[0]
    for name, value in synthesis.LABELS.items():
        wanted = places(labels(), GRIDS["oblique"], {"anterior": 3, "posterior": 7}[name])
        np.testing.assert_allclose(places(array, matrix, value), wanted, atol=2e-3)
    assert gallery.from_shape and np.array_equal(read_nrrd(gallery.samples[1].label.read_bytes())[0], array)
    studio.wait(studio.generate(MODEL, mask=segmentation), 10)
    assert len(user.requests) == 2, "asked once for a server"


def test_consent_to_a_shape_is_none_to_an_image(
    studio: Workflow, served: TestServer, scene: Scene, user: Asked
) -> None:
    studio.wait(studio.generate(MODEL, mask=drawn(scene, GRIDS["upright"])), 10)
    volume = studio.wait(studio.next_sample(), 10)
    volume.SetAttribute("MedGAN.ImageId", None)
    studio.wait(studio.run_model("hippocampus_segmentation", volume), 10)
    assert [(r.kind, r.stored) for r in user.requests] == [(state.SHAPE, False), (state.VOLUME, False)]


def test_consent_to_an_image_is_enough_for_a_shape(studio: Workflow, scene: Scene, user: Asked) -> None:
    volume = studio.wait(studio.next_sample(), 10)
    volume.SetAttribute("MedGAN.ImageId", None)
    studio.wait(studio.run_model("hippocampus_segmentation", volume), 10)
    studio.wait(studio.generate(MODEL, mask=drawn(scene, GRIDS["upright"])), 10)
    assert [(r.kind, r.stored) for r in user.requests] == [(state.VOLUME, False)]


def test_keeping_a_patients_shape_is_asked_again(
    studio: Workflow, served: TestServer, scene: Scene, user: Asked
) -> None:
    studio.wait(studio.generate(MODEL, {"number": 1}, mask=drawn(scene, GRIDS["upright"])), 10)
    studio.judge(True)
    user.answer = False
    fails(studio, studio.add_accepted(), errors.ConsentDeclined, said="info")
    assert user.requests[-1].kind == state.SHAPE and user.requests[-1].stored and served.world.synthetic == {}
    user.answer = True
    assert len(studio.wait(studio.add_accepted(), 10)) == 1 and len(served.world.synthetic) == 1


def test_a_model_that_takes_no_shape(studio: Workflow, served: TestServer, scene: Scene) -> None:
    del served.world.synthesis["medgan"]["options"]["properties"]["mask"]
    studio.wait(studio.connect(), 10)
    segmentation = drawn(scene, GRIDS["upright"])
    fails(studio, studio.generate(MODEL, mask=segmentation), errors.SceneProblem, "takes no shape")
    scene.remove(segmentation)


def test_a_shape_over_the_servers_limit_is_not_sent(studio: Workflow, served: TestServer, scene: Scene) -> None:
    studio.state.server = type(studio.state.server)("s", "", "0.1", max_voxels=10)
    fails(studio, studio.generate(MODEL, mask=drawn(scene, GRIDS["upright"])), errors.TooLarge, "voxels")

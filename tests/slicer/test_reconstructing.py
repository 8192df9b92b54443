"""Reconstructing on real MRML: what is sent, what is put into the scene and marked, how it is undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from MedGANLib import errors
from MedGANLib.consents import RUN_ON_SEVERAL
from MedGANLib.marks import view_mark
from MedGANLib.placing import WARM
from MedGANLib.scene import Scene
from MedGANLib.testing.images import phantom
from MedGANLib.testing.reconstruction import FINER, FUSION, finer
from MedGANLib.testing.server import TestServer
from MedGANLib.testing.world import Refusal
from MedGANLib.volumes import affine, dimensions, image_from_array, is_synthetic, scalar_volumes, to_matrix, voxels
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails
from .scenes import add_transform, rigid


def volume(scene: Scene, name: str = "T1", scale: float = 1.0) -> Any:
    """A volume of the scene that the server does not know."""
    array, matrix = phantom()
    node = scene.add("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(to_matrix(matrix))
    node.SetAndObserveImageData(image_from_array((scale * array).astype(np.int16)))
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(700, 350)
    return node


def reconstruct(studio: Workflow, model: str, options: Any = None, **volumes: Any) -> Any:
    return studio.wait(studio.reconstruct(model, volumes, options), 20)


def names(scene: Scene) -> list[str]:
    return [node.GetName() for node in scalar_volumes(scene)]


def test_image_and_uncertainty_lie_where_the_volume_does(studio: Workflow, scene: Scene) -> None:
    source = volume(scene)
    made = reconstruct(studio, FINER, image=source)
    image, doubt = scene.node(made.image), scene.node(made.uncertainty)
    assert dimensions(image) == dimensions(doubt) == tuple(2 * n for n in dimensions(source))
    edge = np.array([-0.5, -0.5, -0.5, 1.0])
    assert affine(image) @ edge == pytest.approx(affine(source) @ edge, abs=1e-4), "the corner of the first voxel"
    assert np.allclose(voxels(image), finer(phantom())[0], atol=1e-3)
    assert names(scene) == ["T1", "T1 – MR super-resolution v0001", "T1 – MR super-resolution v0001, uncertainty"]
    assert made.consistency == "Averaged back, it equals what was measured to 3e-7."
    assert made.largest == pytest.approx(voxels(doubt).max()) and 0 < made.usual < made.largest
    assert "MR super-resolution: 1 image in" in studio.state.message.text and studio.state.message.kind == "success"


def test_it_can_be_compared_at_a_glance(studio: Workflow, scene: Scene) -> None:
    made = reconstruct(studio, FINER, image=volume(scene))
    display, warm = scene.node(made.image).GetDisplayNode(), scene.node(made.uncertainty).GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (700, 350), "as bright as the source"
    assert warm.GetColorNodeID() == WARM
    assert warm.GetWindowLevelMin() == 0 and warm.GetWindowLevelMax() == pytest.approx(made.usual)


def test_a_safe_image_is_named_as_reconstructed_and_an_altered_one_counts_as_synthetic(
    studio: Workflow, scene: Scene
) -> None:
    source = volume(scene)
    safe = scene.node(reconstruct(studio, FINER, image=source).image)
    assert not is_synthetic(safe) and view_mark(safe) == "RECONSTRUCTED" and view_mark(source) == ""
    assert (safe.GetAttribute("MedGAN.Model"), safe.GetAttribute("MedGAN.Version")) == (FINER, "v0001")
    made = reconstruct(studio, FINER, {"strength": 0.5}, image=source)
    image = scene.node(made.image)
    assert made.altered and is_synthetic(image) and view_mark(image) == "ALTERED"
    assert image.GetAttribute("MedGAN.Altered") == "true" and image.GetAttribute("MedGAN.Strength") == "0.5"
    assert image.GetName() == "ALTERED – T1 – MR super-resolution v0001"
    assert image.GetStorageNode().IsA("vtkMRMLNRRDStorageNode"), "the mark goes into the file's header"
    assert any("altered by a GAN" in line for line in studio.state.message.details)
    assert studio.state.message.kind == "warning"


def test_what_is_made_of_a_synthetic_image_is_marked_too(studio: Workflow, scene: Scene) -> None:
    source = volume(scene)
    source.SetAttribute("MedGAN.Synthetic", "true")
    made = reconstruct(studio, FINER, image=source)
    assert made.altered and is_synthetic(scene.node(made.image))


def test_two_volumes_and_what_belongs_beside_the_result(
    studio: Workflow, scene: Scene, served: TestServer, user: Asked
) -> None:
    ct, pet = volume(scene, "CT^Smith"), volume(scene, "PET", 0.01)
    made = reconstruct(studio, FUSION, {"modality": "CT", "second_modality": "PET"}, image=ct, second=pet)
    assert served.world.inputs == [{"image": "file", "second": "file"}]
    (asked,) = user.requests
    assert (asked.volume_name, asked.sent) == ("CT^Smith, PET", RUN_ON_SEVERAL), "one question for both"
    assert asked.megabytes == pytest.approx(2 * 40 * 56 * 48 * 2 / 2**20)
    beside = {name: scene.node(node) for name, node in made.beside.items()}
    assert sorted(beside) == ["ct", "pet"]
    assert np.array_equal(voxels(beside["pet"]), voxels(pet)), "in its own units"
    assert view_mark(beside["ct"]) == "" and beside["ct"].GetName() == "CT^Smith – CT and PET fusion v0001, CT"
    assert made.altered and made.consistency == "This model adds what was not measured."
    assert list(made.inputs) == ["image", "second"]


def test_studies_of_the_server_are_named_and_not_sent(
    studio: Workflow, scene: Scene, served: TestServer, user: Asked
) -> None:
    study = studio.wait(studio.next_sample(), 10)
    reconstruct(studio, FINER, image=study)
    reconstruct(studio, FUSION, image=volume(scene), second=study)
    reconstruct(studio, FUSION, image=study, second=volume(scene, "other"))
    assert served.world.inputs == [
        {"image": "case_1"},
        {"image": "file", "second": "case_1"},
        {"image": "case_1", "second": "file"},
    ]
    assert len(user.requests) == 1, "agreed for this server"
    assert not list(studio.folder.glob("*.nrrd")), "no file stays behind"


def test_a_study_that_was_moved_here_is_sent_as_it_lies_here(
    studio: Workflow, scene: Scene, served: TestServer, user: Asked
) -> None:
    """The server's own lies elsewhere: two images would not be registered there as they are on screen."""
    study = studio.wait(studio.next_sample(), 10)
    add_transform(scene, study, rigid())
    made = reconstruct(studio, FINER, image=study)
    assert served.world.inputs == [{"image": "file"}] and len(user.requests) == 1
    edge = np.array([-0.5, -0.5, -0.5, 1.0])
    assert affine(scene.node(made.image)) @ edge == pytest.approx(affine(study) @ edge, abs=1e-3)


def test_without_consent_nothing_is_sent(studio: Workflow, scene: Scene, served: TestServer, user: Asked) -> None:
    user.answer = False
    job = studio.reconstruct(FUSION, {"image": volume(scene), "second": volume(scene, "PET")})
    fails(studio, job, errors.ConsentDeclined, "Nothing was sent", said="info")
    assert served.world.received == [] and not list(studio.folder.glob("*.nrrd"))


def test_what_cannot_be_run_is_told(studio: Workflow, scene: Scene, served: TestServer) -> None:
    source = volume(scene)
    for model, volumes, words in (
        (FUSION, {"image": source}, "No volume is chosen for 'second'"),
        (FUSION, {"image": source, "second": source}, "chosen twice"),
        (FINER, {}, "No volume is chosen"),
        (FINER, {"image": source, "third": source}, "no input 'third'"),
        ("hippocampus_segmentation", {"image": source}, "makes no better images"),
        ("nothing", {"image": source}, "no model"),
    ):
        fails(studio, studio.reconstruct(model, volumes), errors.MedGANError, words)
    fails(studio, studio.run_model(FINER, source), errors.NotFound, "makes better images")
    assert served.world.received == []


def test_two_volumes_that_are_too_large_together(studio: Workflow, scene: Scene, served: TestServer) -> None:
    studio.state.server = type(studio.state.server)("s", "", "1", max_upload_mb=1, is_medgan=True)
    big = [volume(scene, name) for name in ("a", "b", "c")]
    for node in big:
        node.SetAndObserveImageData(image_from_array(np.zeros((40, 100, 100), np.int16)))
    job = studio.reconstruct(FUSION, {"image": big[0], "second": big[1]})
    fails(studio, job, errors.TooLarge, "The volumes have 2 MB together; the server takes 1")
    assert served.world.received == []


def test_undo_takes_all_of_it_out_one_run_after_the_other(studio: Workflow, scene: Scene) -> None:
    source = volume(scene)
    pet = volume(scene, "PET")
    before = scene.mrml.GetNumberOfNodes()
    first = reconstruct(studio, FINER, image=source)
    second = reconstruct(studio, FUSION, image=source, second=pet)
    assert studio.state.reconstruction is second and not studio.state.can_undo, "runs of other models are another thing"
    assert studio.undo_reconstruction() and studio.state.reconstruction is first
    assert scene.node(second.image) is None and scene.node(first.image) is not None
    assert studio.undo_reconstruction() and studio.state.reconstruction is None
    assert names(scene) == ["T1", "PET"] and not studio.undo_reconstruction()
    assert scene.mrml.GetNumberOfNodes() == before, "with displays and storage"


def test_undo_after_the_user_removed_a_part(studio: Workflow, scene: Scene) -> None:
    made = reconstruct(studio, FINER, image=volume(scene))
    scene.remove(scene.node(made.uncertainty))
    assert studio.undo_reconstruction() and names(scene) == ["T1"]


def test_a_bad_part_leaves_the_scene_as_it_was(studio: Workflow, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedGANLib.testing import server as testing

    right = testing.make_reconstruction
    source = volume(scene)
    for cut, words in ((b"type: float\ndim", "cannot be read"), (b'"name": "image"', "gave no image")):
        broken = {b"type: float\ndim": b"type: flaot\ndim", b'"name": "image"': b'"name": "imago"'}[cut]
        monkeypatch.setattr(testing, "make_reconstruction", lambda *a, c=cut, b=broken: right(*a).replace(c, b))
        with pytest.raises(errors.MedGANError):
            reconstruct(studio, FINER, image=source)
        assert names(scene) == ["T1"] and studio.state.reconstruction is None, words
        assert studio.state.message.kind == "error" and not list(studio.folder.glob("*"))


def test_a_refusal_of_the_server_is_shown(studio: Workflow, scene: Scene, served: TestServer) -> None:
    served.world.trouble["/infer"] = Refusal(422, "cannot_process", "The images do not overlap.", "Register them.")
    job = studio.reconstruct(FUSION, {"image": volume(scene), "second": volume(scene, "PET")})
    fails(studio, job, errors.CannotProcess, "do not overlap")
    assert studio.state.message.hint == "Register them."


def test_a_scene_that_was_closed_meanwhile(studio: Workflow, scene: Scene, served: TestServer) -> None:
    served.world.infer_seconds = 0.2
    job = studio.reconstruct(FINER, {"image": volume(scene)})
    scene.mrml.Clear(0)
    fails(studio, job, errors.SceneProblem, "removed meanwhile")
    assert scalar_volumes(scene) == [] and not list(studio.folder.glob("*.nrrd"))


def test_a_closed_scene_is_forgotten(studio: Workflow, scene: Scene) -> None:
    reconstruct(studio, FINER, image=volume(scene))
    scene.mrml.Clear(0)
    assert studio.state.reconstruction is None and not studio.undo_reconstruction()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"consistency": "So it is."}, "So it is."),
        ({"contradiction": 2.6e-7}, "It agrees with what was measured to 3e-7."),
        ({"contradiction": 0}, "It agrees with what was measured to 0."),
        ({"contradiction": None}, "This model adds what was not measured."),
    ],
)
def test_a_server_that_says_less(params: dict[str, Any], words: str) -> None:
    from MedGANLib.reconstructions import consistency_of

    assert consistency_of(params) == words

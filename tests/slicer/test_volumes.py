"""Volumes go out with their voxels and geometry alone, and come in where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from MedGANLib.errors import NotAnImage, SceneProblem, StorageProblem, TransformedVolume
from MedGANLib.headers import is_left_handed
from MedGANLib.scene import Scene
from MedGANLib.volumes import (
    add_result,
    affine,
    check_sendable,
    image_from_array,
    is_synthetic,
    known_id,
    load_volume,
    mark_known,
    same_grid,
    save_volume,
    scalar_volumes,
    server_affine,
    voxels,
)

from .scenes import GRIDS, SHAPE, add_transform, add_volume, labels, ras_affine, rigid, write_labels


@pytest.mark.parametrize("name", GRIDS)
def test_a_file_has_the_volume_s_voxels_in_their_places(scene: Scene, tmp_path: Path, name: str) -> None:
    volume = add_volume(scene, GRIDS[name])
    save_volume(volume, tmp_path / "v.nrrd")
    image = sitk.ReadImage(str(tmp_path / "v.nrrd"))
    assert np.allclose(ras_affine(image), GRIDS[name])
    assert np.array_equal(sitk.GetArrayFromImage(image), voxels(volume))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_types_are_kept(scene: Scene, tmp_path: Path, dtype: type) -> None:
    volume = add_volume(scene, GRIDS["oblique"])
    volume.SetAndObserveImageData(image_from_array(labels().astype(dtype)))
    save_volume(volume, tmp_path / "v.nrrd")
    again = load_volume(tmp_path / "v.nrrd", "again", scene)
    assert voxels(again).dtype == dtype and np.array_equal(voxels(again), labels())


def test_nothing_about_the_patient_is_written(scene: Scene, tmp_path: Path) -> None:
    volume = add_volume(scene, GRIDS["upright"], "Smith^John 1970-01-01")
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.840.113619")
    volume.SetDescription("John Smith, ward 7")
    save_volume(volume, tmp_path / "v.nrrd")
    content = (tmp_path / "v.nrrd").read_bytes()
    for secret in (b"Smith", b"1.2.840", b"ward", b"1970"):
        assert secret not in content


def test_the_volume_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    volume = add_volume(scene, GRIDS["upright"])
    add_transform(scene, volume, rigid())
    nodes = scene.mrml.GetNumberOfNodes()
    save_volume(volume, tmp_path / "v.nrrd")
    assert volume.GetStorageNode() is None and volume.GetParentTransformNode() is not None
    assert scene.mrml.GetNumberOfNodes() == nodes


def test_a_linear_transform_is_hardened_in_the_file_with_a_note(scene: Scene, tmp_path: Path) -> None:
    volume = add_volume(scene, GRIDS["oblique"])
    add_transform(scene, volume, rigid())
    assert "transform applied" in check_sendable(volume)[0]
    save_volume(volume, tmp_path / "v.nrrd")
    image = sitk.ReadImage(str(tmp_path / "v.nrrd"))
    assert np.allclose(ras_affine(image), rigid() @ GRIDS["oblique"])


def test_a_shearing_transform_is_refused(scene: Scene, tmp_path: Path) -> None:
    volume = add_volume(scene, GRIDS["upright"])
    shear = np.eye(4)
    shear[0, 1] = 0.3
    add_transform(scene, volume, shear)
    with pytest.raises(TransformedVolume, match="shearing") as caught:
        save_volume(volume, tmp_path / "v.nrrd")
    assert "Resample" in caught.value.hint and not list(tmp_path.iterdir())


def test_a_non_linear_transform_is_refused(scene: Scene) -> None:
    volume = add_volume(scene, GRIDS["upright"])
    warp = scene.add("vtkMRMLBSplineTransformNode", "warp")
    volume.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(TransformedVolume, match="non-linear"):
        check_sendable(volume)


def test_what_is_not_a_volume_is_refused(scene: Scene) -> None:
    colour = add_volume(scene, GRIDS["upright"])
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(2, 2, 2)
    image.AllocateScalars(3, 3)
    colour.SetAndObserveImageData(image)
    empty = scene.add("vtkMRMLScalarVolumeNode", "empty")
    label = scene.add("vtkMRMLLabelMapVolumeNode", "label")
    for node, words in ((None, "No volume"), (empty, "no voxels"), (label, "label map"), (colour, "several values")):
        with pytest.raises(SceneProblem, match=words):
            check_sendable(node)


def test_same_grid(scene: Scene) -> None:
    volume = add_volume(scene, GRIDS["oblique"])
    near, far = GRIDS["oblique"].copy(), GRIDS["oblique"].copy()
    near[0, 3] += 0.001
    far[0, 3] += 0.1
    assert same_grid(volume, add_volume(scene, near))
    assert not same_grid(volume, add_volume(scene, far))
    assert not same_grid(volume, add_volume(scene, GRIDS["oblique"], shape=(8, 8, 7)))


def test_a_result_image_cannot_pass_for_an_acquired_one(scene: Scene, tmp_path: Path) -> None:
    volume = add_volume(scene, GRIDS["oblique"])
    save_volume(volume, tmp_path / "v.nrrd")
    result = add_result(tmp_path / "v.nrrd", "T1 image", "mr2ct", "v0001", scene)
    assert result.GetName() == "T1 image (synthetic, mr2ct v0001)"
    assert is_synthetic(result) and not is_synthetic(volume)
    assert same_grid(result, volume) and np.array_equal(voxels(result), voxels(volume))
    assert scalar_volumes(scene) == [volume, result]


@pytest.mark.parametrize("content", [b"", b"not an image", b"NRRD0004\ntype: float\n\n"])
def test_unreadable_files(scene: Scene, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.nrrd").write_bytes(content)
    with pytest.raises(NotAnImage):
        load_volume(tmp_path / "v.nrrd", "x", scene)
    with pytest.raises(NotAnImage):
        load_volume(tmp_path / "missing.nrrd", "x", scene)
    assert not scalar_volumes(scene)


def test_unwritable_folder(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageProblem):
        save_volume(add_volume(scene, GRIDS["upright"]), tmp_path / "file" / "v.nrrd")


def test_ids_belong_to_a_server(scene: Scene) -> None:
    volume = add_volume(scene, GRIDS["oblique"])
    mark_known(volume, "http://a:80", "case_1")
    add_transform(scene, volume, rigid())
    assert known_id(volume, "http://a:80") == "case_1" and known_id(volume, "http://b:80") == ""
    assert np.allclose(server_affine(volume, "http://a:80"), GRIDS["oblique"]), "where it was when it came"
    assert np.allclose(server_affine(volume, "http://b:80"), affine(volume))


@pytest.mark.parametrize("extension", [".nrrd", ".nii", ".nii.gz", ".mha"])
@pytest.mark.parametrize("name", GRIDS)
def test_handedness_of_files(tmp_path: Path, name: str, extension: str) -> None:
    path = write_labels(tmp_path / f"l{extension}", labels(), GRIDS[name])
    assert is_left_handed(path) == (name in ("left-handed", "oblique and mirrored"))


def test_reading_turns_left_handed_files_round(scene: Scene, tmp_path: Path) -> None:
    """The fact about Slicer on which `headers` rests."""
    path = write_labels(tmp_path / "l.nrrd", labels(), GRIDS["left-handed"])
    volume = load_volume(path, "turned", scene)
    assert np.linalg.det(affine(volume)[:3, :3]) > 0
    assert np.array_equal(voxels(volume), labels()[::-1])
    assert voxels(volume).shape == SHAPE

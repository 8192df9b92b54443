"""Results become segments, corrected segments become labels: exact values and places, nothing of the user's lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from MedGANLib.errors import CannotProcess, NothingToSubmit, WrongGrid
from MedGANLib.exports import export_labels, label_map
from MedGANLib.scene import Scene
from MedGANLib.segments import (
    KEEP,
    MODEL_TAG,
    REPLACE,
    VALUE_TAG,
    VERSION_TAG,
    LabelTable,
    Placement,
    get_tag,
    is_edited,
    place_labels,
    segment_ids,
    segment_of,
)
from MedGANLib.volumes import affine

from .scenes import (
    GRIDS,
    SHAPE,
    TABLE,
    add_transform,
    add_volume,
    draw_segment,
    edit_segment,
    labels,
    names,
    ras_affine,
    rigid,
    write_labels,
)


@pytest.fixture
def scene() -> Scene:
    return Scene(slicer.vtkMRMLScene())


class Bench:
    """A volume, its label map file, and the calls that every test makes."""

    def __init__(self, scene: Scene, folder: Path, matrix: np.ndarray) -> None:
        self.scene = scene
        self.folder = folder
        self.volume = add_volume(scene, matrix)
        self.matrix = matrix

    def place(self, array: np.ndarray, segmentation: Any = None, version: str = "v1", **more: Any) -> Placement:
        path = write_labels(self.folder / "result.nrrd", array, more.pop("file_matrix", self.matrix))
        table = more.pop("table", TABLE)
        return place_labels(path, self.volume, table, "hippocampus", version, self.scene, segmentation, **more)

    def exported(self, segmentation: Any, table: LabelTable = TABLE) -> np.ndarray:
        return label_map(segmentation, self.volume, table).array


@pytest.fixture
def bench(scene: Scene, tmp_path: Path) -> Bench:
    return Bench(scene, tmp_path, GRIDS["oblique"])


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
@pytest.mark.parametrize("name", GRIDS)
def test_label_values_make_the_round_trip_on_any_grid(scene: Scene, tmp_path: Path, name: str, extension: str) -> None:
    volume = add_volume(scene, GRIDS[name])
    path = write_labels(tmp_path / f"l{extension}", labels(), GRIDS[name])
    placement = place_labels(path, volume, TABLE, "hippocampus", "v1", scene)
    export = export_labels(placement.segmentation, volume, TABLE, tmp_path / f"out{extension}")
    image = sitk.ReadImage(str(export.path))
    assert np.allclose(ras_affine(image), affine(volume), atol=1e-4)
    assert np.array_equal(sitk.GetArrayFromImage(image), labels())
    assert export.voxels == {3: int((labels() == 3).sum()), 7: int((labels() == 7).sum())}
    assert (export.warnings, export.notes) == ((), ())


def test_segments_carry_name_colour_and_tags(bench: Bench) -> None:
    placement = bench.place(labels(), version="v0002")
    segments = [segment_of(placement.segmentation, i) for i in placement.added]
    assert names(placement.segmentation) == ["anterior", "posterior"]
    assert [get_tag(s, VALUE_TAG) for s in segments] == ["3", "7"]
    assert {(get_tag(s, MODEL_TAG), get_tag(s, VERSION_TAG)) for s in segments} == {("hippocampus", "v0002")}
    assert segments[0].GetColor() == pytest.approx((0.9, 0.7, 0.2), abs=0.01)


@pytest.mark.parametrize("values", [(1, 2), (2, 1), (255, 4), (300, 65535)])
def test_any_values_survive(bench: Bench, values: tuple[int, int]) -> None:
    table = LabelTable({"a": values[0], "b": values[1]}, {}, "hippocampus")
    array = np.where(labels() == 3, values[0], np.where(labels() == 7, values[1], 0)).astype(np.int32)
    placement = bench.place(array, table=table)
    assert np.array_equal(bench.exported(placement.segmentation, table), array)


def test_values_without_a_name_are_shown_and_noted(bench: Bench) -> None:
    placement = bench.place(labels((3, 9)))
    assert names(placement.segmentation) == ["anterior", "label 9"]
    assert placement.notes == (
        "The model found no 'posterior'.",
        "The model's description has no name for label 9.",
    )


def test_an_empty_result_adds_nothing_and_says_so(bench: Bench) -> None:
    placement = bench.place(np.zeros(SHAPE, np.uint8))
    assert placement.added == ()
    assert len(placement.notes) == 2


@pytest.mark.parametrize("array", [labels().astype(np.float32) + 0.5, labels().astype(np.int16) - 1])
def test_what_is_no_label_map_is_refused(bench: Bench, array: np.ndarray) -> None:
    with pytest.raises(CannotProcess):
        bench.place(array)
    assert not bench.scene.nodes("vtkMRMLSegmentationNode")


def test_a_result_on_another_grid_is_refused(bench: Bench) -> None:
    moved = bench.matrix.copy()
    moved[0, 3] += 0.5
    for matrix in (moved, GRIDS["upright"]):
        with pytest.raises(WrongGrid):
            bench.place(labels(), file_matrix=matrix)
    with pytest.raises(WrongGrid):
        bench.place(labels()[:-1])
    assert not bench.scene.nodes("vtkMRMLSegmentationNode")


# Running again


def test_a_second_run_replaces_the_first(bench: Bench) -> None:
    first = bench.place(labels())
    shifted = np.roll(labels(), 1, axis=0)
    bench.place(shifted, first.segmentation, "v2")
    assert names(first.segmentation) == ["anterior", "posterior"]
    assert np.array_equal(bench.exported(first.segmentation), shifted)


def manual_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 1:6, 2:5] = 1
    return mask


def mask_of(bench: Bench, segmentation: Any, name: str) -> np.ndarray:
    table = LabelTable({name: 1})
    return bench.exported(segmentation, table)


def test_manual_segments_survive_runs_and_undo(bench: Bench) -> None:
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(bench.volume)
    draw_segment(segmentation, "lesion", manual_mask(), bench.matrix)
    first = bench.place(labels(), segmentation)
    second = bench.place(np.roll(labels(), 1, axis=0), segmentation, "v2")
    assert names(segmentation) == ["lesion", "anterior", "posterior"]
    assert np.array_equal(mask_of(bench, segmentation, "lesion"), manual_mask())
    second.undo(bench.scene)
    first.undo(bench.scene)
    assert names(segmentation) == ["lesion"]
    assert np.array_equal(mask_of(bench, segmentation, "lesion"), manual_mask())


def test_a_manual_segment_with_a_label_name_is_not_replaced(bench: Bench) -> None:
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(bench.volume)
    mine = draw_segment(segmentation, "anterior", manual_mask(), bench.matrix)
    bench.place(labels(), segmentation)
    bench.place(labels(), segmentation, "v2")
    assert names(segmentation) == ["anterior", "anterior", "posterior"]
    assert segment_ids(segmentation)[0] == mine


def corrected(bench: Bench, placement: Placement) -> np.ndarray:
    """Corrects 'anterior' and returns its new mask."""
    mask = (labels() == 3).astype(np.uint8)
    mask[0, 0, 0] = 1
    edit_segment(placement.segmentation, placement.added[0], mask, bench.volume)
    return mask


def test_edits_are_noticed(bench: Bench) -> None:
    placement = bench.place(labels())
    assert not is_edited(placement.segmentation, placement.added[0])
    corrected(bench, placement)
    assert is_edited(placement.segmentation, placement.added[0])
    assert not is_edited(placement.segmentation, placement.added[1])


def test_growing_the_shared_label_map_is_no_edit(bench: Bench) -> None:
    """Drawing another segment far away makes Slicer pad the label map that the segments share."""
    placement = bench.place(labels())
    segmentation = placement.segmentation
    new = segmentation.GetSegmentation().AddEmptySegment("", "far")
    mask = np.zeros(SHAPE, np.uint8)
    mask[-1, -1, -1] = 1
    edit_segment(segmentation, new, mask, bench.volume)
    assert [is_edited(segmentation, i) for i in placement.added] == [False, False]


def test_corrections_are_kept_by_default(bench: Bench) -> None:
    first = bench.place(labels())
    mask = corrected(bench, first)
    shifted = np.roll(labels(), 1, axis=0)
    second = bench.place(shifted, first.segmentation, "v2", edited=KEEP)
    assert names(first.segmentation) == ["posterior", "anterior"], "the correction comes last, so it wins overlaps"
    assert "Your corrected 'anterior' was kept; the new result for it was not used." in second.notes
    assert np.array_equal(bench.exported(first.segmentation) == 3, mask == 1)
    second.undo(bench.scene)
    assert sorted(names(first.segmentation)) == ["anterior", "posterior"]
    assert np.array_equal(bench.exported(first.segmentation) == 3, mask == 1)


def test_corrections_are_replaced_when_the_clinician_says_so(bench: Bench) -> None:
    first = bench.place(labels())
    corrected(bench, first)
    asked: list[list[str]] = []

    def ask(edited: Any) -> str:
        asked.append(list(edited))
        return REPLACE

    second = bench.place(labels(), first.segmentation, "v2", edited=ask)
    assert asked == [["anterior"]]
    assert np.array_equal(bench.exported(first.segmentation), labels())
    second.undo(bench.scene)
    assert bench.exported(first.segmentation)[0, 0, 0] == 3, "undo brings the correction back"


def test_other_models_are_left_alone(bench: Bench) -> None:
    first = bench.place(labels())
    path = write_labels(bench.folder / "other.nrrd", labels((1, 1)), bench.matrix)
    table = LabelTable({"brain": 1}, {}, "skull")
    place_labels(path, bench.volume, table, "skull", "v1", bench.scene, first.segmentation)
    assert names(first.segmentation) == ["anterior", "posterior", "brain"]


def test_one_saved_state_for_one_action(bench: Bench) -> None:
    saved: list[tuple[Any, int]] = []

    def save(segmentation: Any) -> None:
        saved.append((segmentation, len(segment_ids(segmentation))))

    first = bench.place(labels(), before_change=save)
    assert saved == [], "a new segmentation has no earlier state"
    bench.place(labels(), first.segmentation, "v2", before_change=save)
    assert saved == [(first.segmentation, 2)], "once, and before anything changed"


def test_undo_restores_the_earlier_run_in_one_step(bench: Bench) -> None:
    first = bench.place(labels())
    second = bench.place(np.roll(labels(), 1, axis=0), first.segmentation, "v2")
    second.undo(bench.scene)
    assert np.array_equal(bench.exported(first.segmentation), labels())
    assert segment_ids(first.segmentation) == list(first.added)
    assert {get_tag(segment_of(first.segmentation, i), VERSION_TAG) for i in first.added} == {"v1"}
    assert not any(is_edited(first.segmentation, i) for i in first.added)


def test_undo_of_the_first_run_takes_its_segmentation_away(bench: Bench) -> None:
    bench.place(labels()).undo(bench.scene)
    assert not bench.scene.nodes("vtkMRMLSegmentationNode")


def test_undo_spares_what_was_drawn_since(bench: Bench) -> None:
    placement = bench.place(labels())
    draw_segment(placement.segmentation, "lesion", manual_mask(), bench.matrix)
    placement.undo(bench.scene)
    assert names(placement.segmentation) == ["lesion"]
    assert np.array_equal(mask_of(bench, placement.segmentation, "lesion"), manual_mask())


def test_undo_after_the_user_deleted_a_segment(bench: Bench) -> None:
    placement = bench.place(labels())
    placement.segmentation.GetSegmentation().RemoveSegment(placement.added[0])
    placement.undo(bench.scene)
    assert not bench.scene.nodes("vtkMRMLSegmentationNode")


# Submitting


def test_background_and_unrelated_segments_are_left_out_with_a_note(bench: Bench) -> None:
    """The stock plugin counts a 'background' segment and shifts every label by one."""
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(bench.volume)
    draw_segment(segmentation, "background", labels() == 0, bench.matrix)
    draw_segment(segmentation, "anterior", labels() == 3, bench.matrix)
    draw_segment(segmentation, " Posterior", labels() == 7, bench.matrix)
    draw_segment(segmentation, "skin", manual_mask(), bench.matrix)
    result = label_map(segmentation, bench.volume, TABLE)
    assert np.array_equal(result.array, labels())
    assert result.notes == ["Not submitted, because the model has no such label: 'background', 'skin'."]
    assert result.warnings == []


def test_overlap_goes_to_the_later_segment_with_a_warning(bench: Bench) -> None:
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(bench.volume)
    draw_segment(segmentation, "anterior", manual_mask(), bench.matrix)
    draw_segment(segmentation, "posterior", labels() == 7, bench.matrix)
    both = (manual_mask() == 1) & (labels() == 7)
    result = label_map(segmentation, bench.volume, TABLE)
    assert (result.array[both] == 7).all()
    assert result.warnings == [
        f"'posterior' and 'anterior' overlap in {int(both.sum())} voxels; 'posterior' was used there."
    ]


def test_absent_labels_are_warned_about(bench: Bench) -> None:
    placement = bench.place(labels((3, 3)))
    result = label_map(placement.segmentation, bench.volume, TABLE)
    assert result.warnings == ["'posterior' has no voxels; it will be learned as absent."]


def test_nothing_to_submit(bench: Bench) -> None:
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    draw_segment(segmentation, "skin", manual_mask(), bench.matrix)
    segmentation.GetSegmentation().AddEmptySegment("", "anterior")
    with pytest.raises(NothingToSubmit) as caught:
        label_map(segmentation, bench.volume, TABLE)
    assert "'anterior', 'posterior'" in caught.value.hint


def test_renamed_result_segments(bench: Bench) -> None:
    placement = bench.place(labels())
    segment_of(placement.segmentation, placement.added[0]).SetName("head of hippocampus")
    assert np.array_equal(bench.exported(placement.segmentation), labels()), "the tag still tells the label"
    segment_of(placement.segmentation, placement.added[0]).SetName("posterior")
    result = label_map(placement.segmentation, bench.volume, TABLE)
    assert np.array_equal(result.array, np.where(labels() > 0, 7, 0)), "the name that the clinician sees counts"
    assert any("renamed from 'anterior' to 'posterior'" in warning for warning in result.warnings)
    assert result.notes == ["2 segments are 'posterior'; they were joined."]


def test_tags_of_another_model_do_not_count(bench: Bench) -> None:
    placement = bench.place(labels())
    other = LabelTable({"tumour": 3}, {}, "tumours")
    with pytest.raises(NothingToSubmit):
        label_map(placement.segmentation, bench.volume, other)


def test_export_goes_to_the_grid_of_the_given_volume(bench: Bench) -> None:
    """With two volumes in the scene, the label gets the grid of the one that is submitted, not of the first."""
    finer = bench.matrix.copy()
    finer[:3, :3] /= 2
    finer[:3, 3] -= finer[:3, :3] @ np.full(3, 0.5)
    small = add_volume(bench.scene, finer, "fine", tuple(2 * n for n in SHAPE))
    placement = bench.place(labels())
    expected = labels().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert np.array_equal(label_map(placement.segmentation, small, TABLE).array, expected)
    assert np.array_equal(bench.exported(placement.segmentation), labels())


def test_segments_with_a_cropped_source_geometry(bench: Bench) -> None:
    """Slicer crops segments to what they hold; the label still fills the volume's grid."""
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    crop = bench.matrix.copy()
    crop[:3, 3] = (bench.matrix @ [3, 2, 4, 1])[:3]
    draw_segment(segmentation, "posterior", np.ones((4, 5, 3)), crop)
    assert np.array_equal(bench.exported(segmentation), np.where(labels() == 7, 7, 0))


def test_segments_that_reach_beyond_the_volume(bench: Bench) -> None:
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    shifted = bench.matrix.copy()
    shifted[:3, 3] = (bench.matrix @ [-3, -3, -3, 1])[:3]
    draw_segment(segmentation, "anterior", np.ones((20, 20, 20)), shifted)
    assert (bench.exported(segmentation) == 3).all()


def test_segments_drawn_as_surfaces(bench: Bench) -> None:
    """A segment may be a closed surface only; it becomes voxels where it is."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(bench.scene.mrml)
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*(bench.matrix @ [3, 4, 4, 1])[:3])
    sphere.SetRadius(3.5)
    sphere.SetThetaResolution(24)
    sphere.SetPhiResolution(24)
    sphere.Update()
    segmentation = bench.scene.add("vtkMRMLSegmentationNode", "mine")
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "anterior", [1, 0, 0])
    inside = bench.exported(segmentation) == 3
    k, j, i = np.indices(SHAPE)
    places = np.stack([i, j, k, np.ones(SHAPE)], axis=-1) @ bench.matrix.T
    distance = np.linalg.norm(places[..., :3] - (bench.matrix @ [3, 4, 4, 1])[:3], axis=-1)
    assert inside[distance < 2.2].all() and not inside[distance > 4.8].any()


# Transforms


def test_volume_and_segmentation_under_one_transform(bench: Bench) -> None:
    placement = bench.place(labels())
    transform = add_transform(bench.scene, bench.volume, rigid())
    placement.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    assert np.array_equal(bench.exported(placement.segmentation), labels())


def test_a_result_lands_where_the_moved_volume_is(bench: Bench) -> None:
    add_transform(bench.scene, bench.volume, rigid())
    world = affine(bench.volume)
    placement = bench.place(labels(), file_matrix=world)
    assert np.array_equal(bench.exported(placement.segmentation), labels())
    placement = bench.place(labels(), grid=bench.matrix, version="v2")
    assert np.array_equal(bench.exported(placement.segmentation), labels())


def test_a_result_goes_into_a_moved_segmentation_too(bench: Bench) -> None:
    first = bench.place(labels())
    transform = add_transform(bench.scene, bench.volume, rigid())
    first.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    shifted = np.roll(labels(), 1, axis=0)
    second = bench.place(shifted, first.segmentation, "v2", file_matrix=affine(bench.volume))
    assert np.array_equal(bench.exported(first.segmentation), shifted)
    second.undo(bench.scene)
    assert np.array_equal(bench.exported(first.segmentation), labels())

"""Corrected segments become labels: exact values, exact places, and remarks about what was left out."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from MedGANLib.errors import NothingToSubmit
from MedGANLib.exports import label_map
from MedGANLib.segments import LabelTable, segment_of
from MedGANLib.volumes import affine

from .bench import Bench, manual_mask
from .scenes import (
    SHAPE,
    TABLE,
    add_transform,
    add_volume,
    draw_segment,
    labels,
    rigid,
)


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

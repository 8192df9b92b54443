"""Results become segments, corrected segments become labels: exact values and places, nothing of the user's lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from MedGANLib.errors import CannotProcess, WrongGrid
from MedGANLib.exports import export_labels
from MedGANLib.label_import import KEEP, REPLACE, Destination, Placement, place_labels
from MedGANLib.scene import Scene
from MedGANLib.segments import (
    MODEL_TAG,
    VALUE_TAG,
    VERSION_TAG,
    LabelTable,
    get_tag,
    is_edited,
    segment_ids,
    segment_of,
)
from MedGANLib.volumes import affine

from .bench import Bench, manual_mask
from .scenes import (
    GRIDS,
    SHAPE,
    TABLE,
    add_volume,
    draw_segment,
    edit_segment,
    labels,
    names,
    ras_affine,
    write_labels,
)


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
@pytest.mark.parametrize("name", GRIDS)
def test_label_values_make_the_round_trip_on_any_grid(scene: Scene, tmp_path: Path, name: str, extension: str) -> None:
    volume = add_volume(scene, GRIDS[name])
    path = write_labels(tmp_path / f"l{extension}", labels(), GRIDS[name])
    placement = place_labels(path, Destination(volume, TABLE, "v1", scene))
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
    place_labels(path, Destination(bench.volume, table, "v1", bench.scene, first.segmentation))
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

"""Corrections: where they are on the network's grid, what they look like to it, and that they are obeyed."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainers.conftest import ball
from trainers.data.volumes import Volume, VolumeError
from trainers.networks import build
from trainers.preprocess import CanonicalGrid, Window
from trainers.recipes import RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import Segmenter
from trainers.tasks.segmentation.clicks import Click, Clicks, by_class, channels, obey
from trainers.tasks.segmentation.errors import correct
from trainers.tasks.segmentation.reaching import reach
from trainers.tasks.segmentation.regions import Roi
from trainers.tasks.segmentation.search import largest_pieces
from trainers.tasks.segmentation.steering import features_of, last_layer, steer

VALUES = [0, 3, 7]


def grid(shape: tuple[int, int, int] = (16, 16, 16), affine: np.ndarray | None = None) -> CanonicalGrid:
    return CanonicalGrid(Volume(np.zeros(shape, np.uint8), np.eye(4) if affine is None else affine), (1.0, 1.0, 1.0))


@pytest.fixture
def spec(tiny_spec: ModelSpec) -> ModelSpec:
    return replace(tiny_spec, clicks=2.0, network={**tiny_spec.network, "in_channels": 4})


class Blank(nn.Module):
    """Finds nothing, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        sure = torch.zeros(len(x), 3, *x.shape[2:])
        sure[:, 0] = 9.0
        return sure + 0 * self.weight


def test_a_click_is_one_voxel_and_a_scribble_a_line() -> None:
    clicks = Clicks([Click(3, ((2.2, 4.0, 5.0),)), Click(7, ((1, 1, 1), (1, 1, 4), (3, 1, 4)))], grid(), VALUES)
    marks = by_class(clicks.inside(grid().whole()))
    assert marks[1].tolist() == [[2, 4, 5]]
    assert sorted(map(tuple, marks[2])) == [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 4), (2, 1, 4), (3, 1, 4)]


def test_a_click_is_at_the_same_place_of_the_patient_in_any_orientation() -> None:
    flipped = np.diag([-1.0, 1.0, 2.0, 1.0])
    flipped[:3, 3] = (15.0, 0.0, 0.0)
    turned = grid((16, 16, 8), flipped)
    (index, voxels), *_ = Clicks([Click(3, ((4.0, 5.0, 6.0),))], turned, VALUES).marked
    place = turned.affine @ [*voxels[0], 1.0]
    assert index == 1
    assert np.abs(place[:3] - (4.0, 5.0, 6.0)).max() <= 0.5


def test_a_later_correction_holds_against_an_earlier_one() -> None:
    clicks = Clicks([Click(3, ((2, 2, 2),)), Click(0, ((2, 2, 2),))], grid(), VALUES)
    marks = clicks.inside(grid().whole())
    assert [index for index, _ in marks] == [1, 0]
    assert {index: voxels.tolist() for index, voxels in by_class(marks).items()} == {0: [[2, 2, 2]]}


def test_marks_come_in_the_order_of_the_corrections() -> None:
    given = [Click(7, ((1, 1, 1),)), Click(3, ((2, 2, 2),)), Click(7, ((3, 3, 3),))]
    marks = Clicks(given, grid(), VALUES).inside(grid().whole())
    assert [(index, *voxels.tolist()) for index, voxels in marks] == [(2, [1, 1, 1]), (1, [2, 2, 2]), (2, [3, 3, 3])]
    assert {index: len(voxels) for index, voxels in by_class(marks).items()} == {1: 1, 2: 2}


def test_the_channels_fall_off_as_a_gaussian() -> None:
    found = channels({2: np.array([[4, 4, 4], [4, 4, 5]])}, 3, (9, 9, 9), spread=2.0)
    assert found.shape == (3, 9, 9, 9)
    assert found[2, 4, 4, 4] == found[2, 4, 4, 5] == 1.0
    assert found[2, 6, 4, 4] == pytest.approx(np.exp(-4 / 8))
    assert found[2, 4, 4, 8] == pytest.approx(np.exp(-9 / 8))  # from the nearer one alone: marks do not add up
    assert not found[:2].any()


def test_marks_of_a_window_are_counted_from_its_corner() -> None:
    clicks = Clicks([Click(3, ((9, 9, 9),)), Click(3, ((1, 1, 1),))], grid(), VALUES)
    ((index, voxels),) = clicks.inside(Window((8, 8, 8), (4, 4, 4)))
    assert (index, voxels.tolist()) == (1, [[1, 1, 1]])


@pytest.mark.parametrize(
    ("click", "code", "says"),
    [
        (Click(3, ((99.0, 1.0, 1.0),)), "outside_image", r"Correction 1, at R 99\.0, 1\.0, 1\.0 S mm, lies outside"),
        (Click(3, ((1.0, 1.0, 1.0), (1.0, 1.0, -5.0))), "outside_image", "lies outside"),
        (Click(5, ((1.0, 1.0, 1.0),)), "wrong_labels", "label 5. Known: 0, 3, 7"),
    ],
)
def test_impossible_corrections_are_named(click: Click, code: str, says: str) -> None:
    with pytest.raises(VolumeError, match=says) as caught:
        Clicks([click], grid(), VALUES)
    assert caught.value.code == code


def test_a_clicked_voxel_has_the_label_that_was_clicked(spec: ModelSpec) -> None:
    image, _ = ball((16, 16, 16), (7.5, 7.5, 7.5))
    fine = Volume(np.repeat(image, 2, 2), np.diag([1.0, 1.0, 0.5, 1.0]))
    given = [Click(7, ((3.0, 4.0, 5.5),)), Click(3, ((9.0, 9.0, 2.0), (9.0, 9.0, 4.0)))]
    segmenter = Segmenter.from_network(spec, Blank())
    label = segmenter(fine, clicks=given, test_time_augmentation=False).label.array
    assert label[3, 4, 11] == 7
    assert label[9, 9, 4] == 3 and label[9, 9, 8] == 3
    assert not segmenter(fine, test_time_augmentation=False).label.array.any()


def test_the_network_sees_image_and_marks_side_by_side(spec: ModelSpec) -> None:
    network, image = Blank(), Volume(ball((16, 16, 16), (7.5, 7.5, 7.5))[0], np.eye(4))
    segmenter = Segmenter.from_network(spec, network)
    segmenter(image, clicks=[Click(0, ((1, 2, 3),)), Click(7, ((4, 5, 6),))], test_time_augmentation=False)
    segmenter(image, test_time_augmentation=False)
    marked, plain = network.seen
    assert marked.shape == (2, 4, 16, 16, 16)
    assert marked[0, 1].argmax() == np.ravel_multi_index((1, 2, 3), (16, 16, 16))
    assert marked[0, 3].argmax() == np.ravel_multi_index((4, 5, 6), (16, 16, 16))
    assert not marked[0, 2].any() and not plain[0, 1:].any()
    assert torch.equal(marked[0, 0], plain[0, 0])


def test_in_a_large_image_a_click_says_where_to_look(spec: ModelSpec) -> None:
    large = Volume(np.random.default_rng(0).normal(size=(60, 60, 60)).astype(np.float32), np.eye(4))
    segmenter = Segmenter.from_network(spec, Blank())
    with pytest.raises(VolumeError, match="Place a point"):
        segmenter(large, clicks=[Click(0, ((30, 30, 30),))])
    found = segmenter(large, clicks=[Click(3, ((30, 30, 30),))], test_time_augmentation=False)
    assert found.label.array[30, 30, 30] == 3
    assert found.finds[0].window == Window.around((30, 30, 30), (16, 16, 16))


class Bright(Blank):
    """Takes for label 3 what is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = (x[:, :1] > 1).float()
        return 4 * torch.cat([1 - bright, bright, -torch.ones_like(bright)], 1) + 0 * self.weight


def test_in_a_region_a_correction_takes_no_organ_for_another_matter(spec: ModelSpec) -> None:
    array = np.random.default_rng(0).normal(0, 0.01, (60, 40, 40)).astype(np.float32)
    for middle in (15, 45):
        array += 9 * ball((60, 40, 40), (float(middle), 20.0, 20.0))[1].astype(bool)
    segmenter = Segmenter.from_network(replace(spec, organs=2), Bright())
    asked = {"roi": Roi((30.0, 20.0, 20.0), (56.0, 20.0, 20.0)), "test_time_augmentation": False}
    before = segmenter(Volume(array, np.eye(4)), **asked).label.array > 0  # type: ignore[arg-type]
    removed = segmenter(Volume(array, np.eye(4)), **asked, clicks=[Click(0, ((15.0, 20.0, 20.0),))]).label.array > 0  # type: ignore[arg-type]
    assert before[:30].sum() > 200 and not removed[15, 20, 20]
    assert removed[:30].sum() > before[:30].sum() / 4, "of the one something is left"
    assert np.array_equal(removed[30:], before[30:])


def test_corrections_are_compared_with_what_was_found_without_them(spec: ModelSpec) -> None:
    network, image = Blank(), Volume(ball((16, 16, 16), (7.5, 7.5, 7.5))[0], np.eye(4))
    Segmenter.from_network(spec, network)(image, clicks=[Click(3, ((8, 8, 8),))], test_time_augmentation=False)
    (seen,) = network.seen
    assert seen[0, 1:].any() and not seen[1, 1:].any()
    assert torch.equal(seen[0, 0], seen[1, 0])


def test_a_model_without_channels_for_them_says_so(tiny_spec: ModelSpec) -> None:
    segmenter = Segmenter.from_network(tiny_spec, build(tiny_spec.network))
    with pytest.raises(VolumeError, match="cannot be corrected by clicks"):
        segmenter(Volume(np.ones((16, 16, 16)), np.eye(4)), clicks=[Click(3, ((1, 1, 1),))])


def test_obeying_makes_a_copy_and_marked_pieces_stay() -> None:
    maps = np.zeros((2, 9, 9, 9), np.float32)
    maps[0] = 1
    maps[:, 1:5, 1:5, 1:5] = np.array([0, 1])[:, None, None, None]
    sure = obey(maps, {1: np.array([[8, 8, 8]])})
    assert sure[1, 8, 8, 8] == 1 and maps[1, 8, 8, 8] == 0
    assert largest_pieces(sure)[1, 8, 8, 8] == 0
    assert largest_pieces(sure, 1, [np.array([8, 8, 8])])[1, 8, 8, 8] == 1


# Beyond its place: what looks like it, and the error that it lies in


def steering(click: tuple[int, int, int], label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A network that takes all that is bright for label 1: logits before and after a click."""
    bright = torch.zeros(1, 1, 30, 12, 12)
    bright[:, :, 2:8, 2:8, 2:8], bright[:, :, 22:28, 2:8, 2:8] = 1, 1
    features = torch.cat([bright, 1 - bright, torch.rand(1, 2, 30, 12, 12)], 1)
    logits = torch.cat([1 - bright, 2 * bright - 1, -torch.ones_like(bright)], 1) * 2
    marks = channels({label: np.array([click])}, 3, (30, 12, 12), 2.0)
    return logits, steer(logits, features, torch.from_numpy(marks)[None])


def test_a_click_turns_what_looks_like_its_place_nearby_and_not_far_away() -> None:
    before, after = steering((5, 5, 5), 0)
    assert before.argmax(1)[0, 3, 3, 3] == 1 == before.argmax(1)[0, 25, 5, 5]
    near = torch.softmax(after, 1)[0, 0, 2:8, 2:8, 2:8].mean() - torch.softmax(before, 1)[0, 0, 2:8, 2:8, 2:8].mean()
    assert near > 0.1
    assert torch.equal(after.argmax(1)[0, 20:], before.argmax(1)[0, 20:])


def test_where_the_network_agrees_a_click_changes_little() -> None:
    before, after = steering((5, 5, 5), 1)
    assert torch.equal(after.argmax(1), before.argmax(1))


def test_of_threads_that_share_a_network_each_sees_its_own_features() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 1), nn.Conv3d(4, 3, 1))
    with features_of(network, 3) as seen:
        other = threading.Thread(target=network, args=(torch.ones(1, 1, 9, 9, 9),))
        other.start()
        other.join()
        network(torch.ones(1, 1, 2, 2, 2))
    assert [tuple(features.shape) for features in seen] == [(1, 4, 2, 2, 2)]


def test_only_a_linear_last_layer_is_steered(tiny_spec: ModelSpec) -> None:
    assert last_layer(nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 3, 1)), 3) is not None
    assert last_layer(nn.Sequential(nn.Conv3d(1, 3, 3)), 3) is None
    assert last_layer(nn.Sequential(nn.Conv3d(1, 4, 1)), 3) is None
    with features_of(nn.Linear(2, 2), 3) as seen:
        pass
    assert seen == []


def shown(size: int) -> np.ndarray:
    """Logits of a network that sees a cube of label 1 in an image of 40^3, less sure of it than of all else."""
    logits = np.full((3, 40, 40, 40), -4.0, np.float32)
    logits[0] = 4
    box = (slice(20 - size // 2, 20 + size // 2 + 1),) * 3
    logits[(0, *box)], logits[(1, *box)] = 1.5, 4
    return logits


def changed(logits: np.ndarray, *marks: tuple[int, tuple[int, int, int]]) -> np.ndarray:
    """Voxels whose label corrections change."""
    told = reach(logits, logits, [(index, np.array([place])) for index, place in marks])
    return told.argmax(0) != logits.argmax(0)


def test_the_deeper_in_an_error_a_click_lies_the_farther_it_reaches() -> None:
    middles = [changed(shown(size), (0, (20, 20, 20))).sum() for size in (3, 5, 7)]
    assert middles[0] > 0 and middles == sorted(set(middles))
    assert changed(shown(7), (0, (20, 20, 20)))[20, 20, 17:24].all()
    assert not changed(shown(1), (0, (20, 20, 20))).any(), "in a rim of one voxel it is at its edge"
    assert changed(shown(7), (0, (20, 20, 23))).sum() < middles[-1] / 2, "at its edge it is a small matter"


def test_a_click_says_nothing_of_what_is_far_away_or_right() -> None:
    logits = shown(15)
    far = changed(logits, (0, (20, 20, 20)))
    far[8:33, 8:33, 8:33] = False
    assert not far.any()
    assert not changed(logits, (1, (20, 20, 20))).any()


def test_where_the_label_is_nowhere_yet_a_click_gives_it_a_ball() -> None:
    new = changed(shown(1), (2, (10, 10, 10)))
    assert new[10, 10, 10] and 50 < new.sum() < 500
    assert np.abs(np.argwhere(new) - 10).max() <= 5


def test_corrections_beside_each_other_do_not_add_up() -> None:
    one = changed(shown(1), (2, (10, 10, 10)))
    three = changed(shown(1), (2, (10, 10, 10)), (2, (10, 10, 11)), (2, (10, 11, 10)))
    assert three.sum() < 2 * one.sum()


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_it_matters_not_how_sure_a_network_is_of_everything(scale: float) -> None:
    logits = shown(7)
    assert np.array_equal(changed(scale * logits, (0, (20, 20, 20))), changed(logits, (0, (20, 20, 20))))


def test_of_two_labels_at_one_place_the_later_holds(spec: ModelSpec) -> None:
    image = Volume(ball((16, 16, 16), (7.5, 7.5, 7.5))[0], np.eye(4))
    given = [Click(3, ((8, 8, 8),)), Click(0, ((8, 8, 8),))]
    segmenter = Segmenter.from_network(spec, Blank())
    for clicks, label in ((given, 0), (given[::-1], 3)):
        assert segmenter(image, clicks=clicks, test_time_augmentation=False).label.array[8, 8, 8] == label


def test_a_mark_at_the_border_of_an_image_reaches_into_it() -> None:
    logits = shown(1)
    assert changed(logits, (2, (0, 0, 39)))[0, 0, 39]
    scribble = [(2, np.array([[0, 0, z] for z in range(40)]))]
    assert (reach(logits, logits, scribble).argmax(0) == 2)[0, 0].all()


def test_each_correction_follows_on_those_before_it() -> None:
    logits = shown(9)
    alone = changed(logits, (0, (20, 20, 18)))
    after = changed(logits, (0, (20, 20, 20)), (0, (20, 20, 18)))
    before = changed(logits, (0, (20, 20, 20)))
    assert alone.sum() > 30 and before[20, 20, 18], "the first has already reached that far"
    assert (after & ~before).sum() < alone.sum() / 4


def test_a_scribble_is_as_deep_as_the_error_at_each_of_its_voxels() -> None:
    logits = shown(7)
    line = np.array([[20, 20, z] for z in range(17, 24)])
    told = reach(logits, logits, [(0, line)])
    ends, middle = told[0, 14, 20, 17] - logits[0, 14, 20, 17], told[0, 14, 20, 20] - logits[0, 14, 20, 20]
    assert middle > ends > 0
    assert np.array_equal(logits, shown(7)), "what it is given stays as it was"


# The simulated clinician


def test_the_largest_error_is_marked_in_its_middle() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[2:9, 2:9, 2:9] = 1
    truth[14:17, 14:17, 14:17] = 2
    mark = correct(np.zeros_like(truth), truth)
    assert mark is not None
    assert mark.index == 1
    assert mark.voxels.tolist() == [[5, 5, 5]]


def test_what_is_wrongly_labelled_is_marked_as_background() -> None:
    found = np.zeros((9, 9, 9), np.uint8)
    found[3:6, 3:6, 3:6] = 2
    mark = correct(found, np.zeros_like(found))
    assert mark is not None
    assert (mark.index, mark.voxels.tolist()) == (0, [[4, 4, 4]])


def test_nothing_is_marked_where_nothing_is_wrong() -> None:
    assert correct(np.ones((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8)) is None


@pytest.mark.parametrize("scribble", [0.0, 1.0])
def test_marks_of_chance_lie_in_an_error_and_are_repeatable(scribble: float) -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[2:12, 2:9, 2:9] = 1
    sizes = []
    for seed in range(20):
        marks = [correct(np.zeros_like(truth), truth, np.random.default_rng(seed), scribble) for _ in range(2)]
        assert marks[0] is not None and marks[1] is not None
        assert marks[0].voxels.tolist() == marks[1].voxels.tolist()
        assert (truth[tuple(marks[0].voxels.T)] == 1).all()
        sizes.append(len(marks[0].voxels))
    assert (max(sizes) > 3) == bool(scribble)


def test_the_recipe_has_a_channel_for_each_class() -> None:
    spec = RECIPES["hippocampus_segmentation"].spec
    assert spec.network["in_channels"] == 1 + 1 + len(spec.labels)
    assert spec.clicks > 0

"""Label maps: varied, as distances, for learning, drawn in one piece of a real size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainers.synthesis.conftest import organ
from trainers.networks.blocks import resize
from trainers.tasks.synthesis.shapes import (
    REACH,
    VARIATIONS,
    distance_maps,
    draw_label,
    label_sizes,
    map_channels,
    map_statistics,
    to_label,
)


def real_labels(number: int = 3) -> np.ndarray:
    """Class indices 0, 1 and 2."""
    return np.stack([np.array([0, 0, 0, 1, 0, 0, 0, 2], np.uint8)[organ(i, (13, 16, 11)).label] for i in range(number)])


def test_maps_tell_the_distance_to_each_outline() -> None:
    """A box of 12 x 16 voxels: half a voxel from its face, and along a straight line from it."""
    label = np.zeros((1, 24, 20), np.uint8)
    label[0, 6:18, 2:18] = 1
    maps = distance_maps(label, 2)
    assert maps.array.shape == (VARIATIONS, 1, 12, 10) and len(set(maps.ids)) == len(maps)
    line = maps.array[0, 0, :, 5] * REACH  # each is the mean of two voxels
    expected = np.clip([-5, -3, -1, 1, 3, 5, 5, 3, 1, -1, -3, -5], -REACH, REACH)
    np.testing.assert_allclose(line, expected, atol=0.3)


def test_distances_are_cut_off_and_a_label_that_is_missing_is_far() -> None:
    label = np.zeros((1, 40, 8, 8), np.uint8)
    label[0, :4] = 1
    array = distance_maps(label, 3).array
    assert array.shape == (VARIATIONS, map_channels(3), 20, 4, 4) == (VARIATIONS, 3, 20, 4, 4)
    np.testing.assert_array_equal(array[:, 0], array[:, 1])  # all labels together are the one that is there
    assert array.min() == -1 and (array[:, 2] == -1).all() and (array[0, 0, 8:] == -1).all()
    assert (array[0, 0, :2] > 0).all() and (array[0, 0, 2:] < 0).all()


def test_distances_give_the_labels_back() -> None:
    labels = real_labels().repeat(2, 1).repeat(2, 2).repeat(2, 3)
    maps = distance_maps(labels, 3)
    assert maps.array.shape == (3 * VARIATIONS, 3, 13, 16, 11)
    for label, distances in zip(labels, maps.array[::VARIATIONS], strict=True):
        back = to_label(resize(torch.from_numpy(distances)[None], label.shape)[0].numpy())
        for value in (1, 2):
            a, b = label == value, back == value
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85


def test_the_deepest_label_wins_inside_the_outline_of_all() -> None:
    """Between neighbours, where neither is inside its own outline, there is no gap."""
    distances = np.array([[0.5, 0.3, 0.1, -0.2], [0.5, 0.1, -0.1, 0.2], [0.2, 0.3, -0.2, 0.1]], np.float32)
    assert to_label(distances).tolist() == [1, 2, 1, 0]
    assert to_label(distances[:1]).tolist() == [1, 1, 1, 0]
    assert map_channels(2) == 1


def test_variations_are_small_and_come_from_the_seed() -> None:
    labels = real_labels(1)
    one, again, other = (distance_maps(labels, 3, seed).array for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one[0], other[0])  # the map itself
    assert not np.allclose(one[1:], other[1:])
    first = to_label(one[0]) > 0
    for varied in one[1:]:
        inside = to_label(varied) > 0
        assert 2 * (first & inside).sum() / (first.sum() + inside.sum()) > 0.6
        assert np.abs(varied - one[0]).max() > 1e-3


def test_sizes_of_real_labels_bound_the_made_ones() -> None:
    labels = np.zeros((101, 20, 20), np.uint8)
    for i, label in enumerate(labels):
        label.ravel()[: i + 50] = 1
        label.ravel()[-200:] = 2
    sizes = label_sizes(labels, 3)
    assert sizes == [(51, 149), (200, 200)]
    assert map_statistics({"front": 7, "back": 3}, sizes) == {"front": [51, 149], "back": [200, 200]}


class Blobs(nn.Module):
    """Draws a box of a random length and, apart from it, a single voxel; distances at half the resolution."""

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.lengths, self.asked = list(lengths), 0

    def latents(self, number: int, rng: torch.Generator | None = None) -> list[torch.Tensor]:
        return [torch.randn(number, 2, generator=rng)]

    def forward(self, latents: Sequence[torch.Tensor]) -> torch.Tensor:
        length = self.lengths[int(latents[0].abs().sum() * 1000) % len(self.lengths)]
        self.asked += 1
        distances = torch.full((1, 1, 12, 8), -0.5)
        distances[:, :, 1 : 1 + length, 1:3] = 0.5
        distances[:, :, -1, -1] = 0.5
        return distances


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pieces(label: np.ndarray) -> int:
    from scipy import ndimage

    return int(ndimage.label(label > 0)[1])


def test_a_drawn_label_is_one_piece_of_a_real_size() -> None:
    lengths = {
        length: int((draw_label(Blobs([length]), (24, 16), [(0, 10**6)], rng()) > 0).sum()) for length in (2, 5, 8)
    }
    assert lengths[2] < lengths[5] < lengths[8]
    wanted = lengths[5]
    for seed in range(4):
        label = draw_label(Blobs([2, 5, 8]), (24, 16), [(wanted - 2, wanted + 2)], rng(seed))
        assert label.shape == (24, 16) and label.dtype == np.uint8
        assert (label > 0).sum() == wanted and pieces(label) == 1


def test_the_same_chance_draws_the_same_label() -> None:
    made = [draw_label(Blobs([2, 3, 5, 7, 8]), (24, 16), [(0, 10**6)], rng(s)) for s in (3, 3, 4, 5, 6)]
    np.testing.assert_array_equal(made[0], made[1])
    assert any(not np.array_equal(made[0], other) for other in made[2:])


@pytest.mark.parametrize(("sizes", "best"), [((500, 900), 8), ((1, 2), 2)])
def test_if_no_size_fits_the_nearest_is_taken(sizes: tuple[int, int], best: int) -> None:
    blobs = Blobs([2, 5, 8])
    nearest = draw_label(Blobs([best]), (24, 16), [(0, 10**6)], rng())
    np.testing.assert_array_equal(draw_label(blobs, (24, 16), [sizes], rng(1)), nearest)
    assert blobs.asked == 20

"""Lesions have the size, contrast and place that were asked for, and push what is around them."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.physics.lesions import Lesion, add_lesion, place_for

SHAPE, SPACING, CENTRE = (40, 36, 30), (1.0, 1.0, 1.5), (20.0, 18.0, 15.0)


def healthy() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 1, SHAPE).astype(np.float32)


@pytest.mark.parametrize("radius", [3.0, 6.0])
def test_a_blob_is_as_large_and_bright_as_asked(radius: float) -> None:
    image, mask = add_lesion(healthy(), Lesion(radius=radius, contrast=20), CENTRE, SPACING, np.random.default_rng(1))
    volume = mask.sum() * 1.5
    assert 0.4 * 4.19 * radius**3 < volume < 2.2 * 4.19 * radius**3
    assert mask[20, 18, 15] and image[mask].mean() == pytest.approx(117, abs=4)
    assert np.allclose(image[:4], healthy()[:4], atol=0.1), "far away nothing changes"


def test_a_ring_is_empty_in_its_middle() -> None:
    image, mask = add_lesion(healthy(), Lesion("ring", 7, 20), CENTRE, SPACING, np.random.default_rng(1))
    assert not mask[20, 18, 15] and image[20, 18, 15] < 108 and image[mask].mean() > 112


def test_a_texture_has_no_mean_contrast() -> None:
    image, mask = add_lesion(healthy(), Lesion("texture", 7, 10), CENTRE, SPACING, np.random.default_rng(1))
    assert abs(image[mask].mean() - 100) < 3 and image[mask].std() > 5


def test_mass_effect_moves_tissue_outwards() -> None:
    wall = np.zeros(SHAPE, np.float32)
    wall[25:] = 100
    still, _ = add_lesion(wall, Lesion(radius=4, contrast=0), CENTRE, SPACING, np.random.default_rng(1))
    moved, _ = add_lesion(wall, Lesion(radius=4, contrast=0, mass=0.8), CENTRE, SPACING, np.random.default_rng(1))
    assert np.array_equal(still, wall)
    assert moved[25:28, 18, 15].mean() < 80 and moved[35:].min() > 99 and moved[:15].max() < 1


def test_slices_too_and_the_same_again() -> None:
    flat = healthy()[..., 0]
    made = [add_lesion(flat, Lesion(radius=5), (20.0, 18.0), (1.0, 1.0), np.random.default_rng(3)) for _ in range(2)]
    assert made[0][0].shape == flat.shape and np.array_equal(made[0][0], made[1][0]) and made[0][1].any()


def test_a_place_lies_inside_the_tissue() -> None:
    tissue = np.zeros(SHAPE, bool)
    tissue[5:35, 8:28, 5:25] = True
    for seed in range(20):
        place = np.array(place_for(tissue, 4, SPACING, np.random.default_rng(seed)))
        assert (place >= [7, 10, 6]).all() and (place <= [32, 25, 23]).all()
    thin = np.zeros(SHAPE, bool)
    thin[10] = True
    assert place_for(thin, 9, SPACING, np.random.default_rng(0))[0] == 10, "as far inside as there is"
    with pytest.raises(ValueError, match="no tissue"):
        place_for(tissue & False, 4, SPACING, np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"kind": "star"}, {"radius": 0}, {"mass": 2}, {"softness": -1}])
def test_what_there_is_not_is_told(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="lesion"):
        Lesion(**wrong)  # type: ignore[arg-type]

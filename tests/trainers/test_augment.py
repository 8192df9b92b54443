"""Small moves of images whose look must stay true."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainers.augment import small_moves


def blob(size: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """A smooth spot, and where it is above its half."""
    middle = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 for n in size), indexing="ij"))
    image = torch.exp(-(middle**2).sum(0) / 40)
    return {"image": image[None], "label": (image > 0.5).long()[None]}


@pytest.mark.parametrize("size", [(32, 28), (24, 32, 28)], ids=str)
def test_image_and_label_move_together_and_a_little(size: tuple[int, ...]) -> None:
    move = small_moves(len(size))
    move.set_random_state(seed=0)
    moved = [move(blob(size)) for _ in range(30)]
    still = [torch.equal(m["image"].as_tensor(), blob(size)["image"]) for m in moved]
    assert 5 < sum(still) < 25
    for m in moved:
        image, label = m["image"].as_tensor()[0], m["label"].as_tensor()[0]
        spot, mask = (np.array(ndimage.center_of_mass(a.numpy())) for a in (image.clamp(0, 1) ** 2, label))
        assert np.abs(spot - mask).max() < 0.5
        assert np.abs(mask - np.array(size) / 2).max() < 4


def test_moves_do_not_blur() -> None:
    """Noise keeps nine tenths of its spread; linear interpolation would leave about two thirds."""
    move = small_moves(3)
    move.set_random_state(seed=1)
    image = ndimage.gaussian_filter(torch.randn(1, 24, 24, 24, generator=torch.Generator().manual_seed(0)).numpy(), 0.7)
    spreads = [float(move({"image": torch.from_numpy(image)})["image"].as_tensor().std()) for _ in range(20)]
    assert min(spreads) > 0.8 * float(image.std())

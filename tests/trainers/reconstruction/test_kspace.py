"""K-space of any number of slices and coils becomes an image that has every measured line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainers.data.ismrmrd import PixelGrid
from trainers.data.kspace import KSpace
from trainers.data.volumes import Volume, VolumeError
from trainers.physics.kspace import to_image, to_kspace
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.kspace import _middle, reconstruct_kspace, simulate

from .test_infer import denoiser, wrapped


def unrolled() -> Reconstructor:
    network = {"name": "UnrolledReconstructor", "cascades": 2, "channels": [4, 8]}
    return wrapped(network, {"measurement": "undersampling"}, True)


def head(shape: tuple[int, int, int] = (18, 21, 5)) -> Volume:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5)
    affine = np.diag([0.9, 0.9, 3.0, 1.0])
    return Volume((9000 * (smooth - smooth.min())).astype(np.int16), affine)


def test_a_fully_sampled_measurement_is_the_image() -> None:
    volume = head()
    found = reconstruct_kspace(unrolled(), simulate(volume, 1.0), 0.7, volume.affine)
    assert found.image.array == pytest.approx(volume.array, abs=0.01 * volume.array.max() * 1e-2)
    assert np.array_equal(found.image.affine, volume.affine) and len(found.warnings) == 1 and "GAN" in found.warnings[0]


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["random", "equispaced"])
def test_measured_lines_stay(strength: float, kind: str) -> None:
    measured = simulate(head(), 4.0, kind, seed=3)
    assert measured.samples.shape == (5, 1, 18, 21) and measured.acceleration == pytest.approx(4, rel=0.1)
    found = reconstruct_kspace(unrolled(), measured, strength)
    assert found.contradiction is not None and found.contradiction < 1e-5
    assert "does not tell its voxel size" in found.warnings[0]
    assert found.uncertainty.shape == found.image.shape == (18, 21, 5) and (found.image.array >= 0).all()


def test_what_was_measured_beside_the_image_is_cut_off() -> None:
    measured = replace(simulate(head(), 2.0), grid=PixelGrid((2.0, 1.5, 4.0), (8, 21)))
    found, whole = reconstruct_kspace(unrolled(), measured), reconstruct_kspace(unrolled(), simulate(head(), 2.0))
    assert np.array_equal(found.image.array, whole.image.array[5:13]) and found.image.shape == (8, 21, 5)
    assert found.image.spacing == pytest.approx([2.0, 1.5, 4.0])
    middle = found.image.affine @ [3.5, 10, 2, 1]
    assert middle[:3] == pytest.approx([0, 0, 0]), "the origin is in the middle"
    assert "place and direction" in found.warnings[0]


@pytest.mark.parametrize(("whole", "part"), [(8, 5), (8, 4), (9, 5), (9, 4), (7, 7)])
def test_the_middle_of_k_space_stays_the_middle_pixel(whole: int, part: int) -> None:
    """The transform has the middle of the field at the pixel n // 2, of odd and of even numbers of pixels."""
    array = np.zeros((whole, 6, 2), np.float32)
    array[whole // 2, 3] = 1
    measured = KSpace(np.ones((2, 1, whole, 6), np.complex64), np.ones(6, bool), PixelGrid((2.0, 1.0, 1.0), (part, 6)))
    found = _middle(Volume(array, np.diag([2.0, 1.0, 1.0, 1.0])), measured)
    assert np.argwhere(found.array)[0].tolist() == [part // 2, 3, 0]
    assert (found.affine @ [part // 2, 3, 0, 1])[0] == 2.0 * (whole // 2)


def test_the_scale_of_k_space_does_not_matter() -> None:
    measured = simulate(head(), 4.0)
    small = KSpace(measured.samples * np.float32(1e-7), measured.lines)
    one, two = (reconstruct_kspace(unrolled(), k) for k in (measured, small))
    assert two.image.array * 1e7 == pytest.approx(one.image.array, rel=1e-3, abs=1e-2)
    assert two.uncertainty.array * 1e7 == pytest.approx(one.uncertainty.array, rel=1e-3, abs=1e-2)


def test_coils_are_joined_by_the_root_of_the_sum_of_squares() -> None:
    volume = head()
    image = torch.from_numpy(np.moveaxis(volume.array.astype(np.float32), 2, 0)[:, None]).to(torch.complex64)
    coils = torch.cat([to_kspace(image * 0.6), to_kspace(image * 0.8j)], 1)
    assert torch.allclose(to_image(coils).abs().square().sum(1).sqrt(), image.abs()[:, 0], rtol=1e-3, atol=0.5)
    found = reconstruct_kspace(unrolled(), KSpace(coils.numpy(), np.ones(21, bool)))
    assert found.image.array == pytest.approx(volume.array, rel=1e-3, abs=0.5)


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(VolumeError, match="does not reconstruct k-space"):
        reconstruct_kspace(denoiser(), simulate(head()))
    with pytest.raises(VolumeError, match="too small"):
        reconstruct_kspace(unrolled(), simulate(head((7, 21, 5))))
    with pytest.raises(VolumeError, match="below 0"):
        simulate(Volume(np.full((9, 9, 9), -1.0), np.eye(4)))
    with pytest.raises(VolumeError, match="reconstructs k-space, not images"):
        unrolled()(head())
    with pytest.raises(ValueError, match="no strength"):
        reconstruct_kspace(unrolled(), simulate(head()), 2.0)

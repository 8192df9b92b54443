"""Images that are harder than those of the training set, so that a network's mistakes can be met before a clinic's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import avg_pool3d, interpolate

NOISE, BLUR, GAMMA, BIAS, COARSE, HOLE = 1.5, 6, 1.2, 1.0, 4.0, 0.6
"""At full strength: noise's deviation, times that a mean over 3 voxels is taken, log of gamma, log of the field's
deviation, voxels that become one, side of a hole relative to the image."""

Spoil = Callable[[torch.Tensor, float], torch.Tensor]


def harden(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Spoils each image in one or two ways of those in `WAYS`, which chance chooses, then normalises it again.

    Args:
        images: (b, 1, x, y, z), normalised; exactly 0 outside the image.
        strength: (b,), 0 leaves an image as it is, 1 makes it nearly useless.
    """
    return torch.stack([_one(image[None], float(s))[0] for image, s in zip(images, strength, strict=True)])


def _one(image: torch.Tensor, strength: float) -> torch.Tensor:
    if strength <= 0:
        return image
    inside = image != 0
    out = image
    for way in torch.randperm(len(WAYS))[: 1 + int(torch.randint(2, ()))]:
        out = WAYS[int(way)](out, strength)
    values = out[inside]
    if values.numel() < 2 or float(values.std()) == 0:
        return image
    return torch.where(inside, (out - values.mean()) / values.std(), torch.zeros_like(out))


def _noise(image: torch.Tensor, strength: float) -> torch.Tensor:
    return image + NOISE * strength * torch.randn(image.shape).to(image.device)


def _blur(image: torch.Tensor, strength: float) -> torch.Tensor:
    for _ in range(math.ceil(BLUR * strength)):
        image = avg_pool3d(image, 3, 1, 1, count_include_pad=False)
    return image


def _contrast(image: torch.Tensor, strength: float) -> torch.Tensor:
    """Another gamma; at high strength one in three is turned into its negative, as another sequence might show it."""
    low, high = image.amin(), image.amax()
    unit = (image - low) / (high - low).clamp(min=1e-6)
    if strength > 0.5 and float(torch.rand(())) < 1 / 3:
        unit = 1 - unit
    return unit ** math.exp(GAMMA * strength * (2 * float(torch.rand(())) - 1))


def _field(image: torch.Tensor, strength: float) -> torch.Tensor:
    """A receiver's uneven field: a smooth factor."""
    field = interpolate(torch.randn(1, 1, 3, 3, 3), size=image.shape[2:], mode="trilinear", align_corners=True)
    return (image - image.amin()) * torch.exp(BIAS * strength * field.to(image.device))


def _coarse(image: torch.Tensor, strength: float) -> torch.Tensor:
    """Thick slices along one axis."""
    size = list(image.shape[2:])
    axis = int(torch.randint(3, ()))
    thick = [max(2, round(n / (1 + (COARSE - 1) * strength))) if a == axis else n for a, n in enumerate(size)]
    small = interpolate(image, size=thick, mode="area")
    return interpolate(small, size=size, mode="trilinear", align_corners=False)


def _hole(image: torch.Tensor, strength: float) -> torch.Tensor:
    """A box without signal, as around metal."""
    out = image.clone()
    box = []
    for n in image.shape[2:]:
        length = max(1, round(HOLE * strength * n))
        start = int(torch.randint(n - length + 1, ()))
        box.append(slice(start, start + length))
    x, y, z = box
    out[..., x, y, z] = image.amin()
    return out


WAYS: tuple[Spoil, ...] = (_noise, _blur, _contrast, _field, _coarse, _hole)

"""Random changes of training images that keep their labels true. All are MONAI's; here they are chosen and ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandGridDistortiond,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
)

ROTATE, SCALE, SHIFT = 0.1, 0.05, 2.0  # radians, share of the size, voxels: within what real anatomy varies


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are varied.

    Attributes:
        rotate: largest angle about each axis, radians. scale: largest relative change of size.
        translate: largest shift, voxels. flip_left_right: share of images that are mirrored left to right.
        intensity: share of images that get each change of grey values.
    """

    rotate: float = 0.26
    scale: float = 0.15
    translate: float = 4.0
    flip_left_right: float = 0.5
    distortion: float = 0.2
    intensity: float = 0.2


def segmentation_augmentation(size: Sequence[int], settings: Augmentation) -> Compose:
    """Changes of a normalised image and its label; the result has `size` voxels, 0 outside the image.

    Takes and returns a dictionary with `image` (1, x, y, z) float and `label` (1, x, y, z). Grey values first, so that
    the padding stays 0; then one resampling for all geometry.
    """
    p, both = settings.intensity, ("image", "label")
    return Compose(
        [
            RandBiasFieldd("image", prob=p, coeff_range=(0.0, 0.2)),
            RandAdjustContrastd("image", prob=1.5 * p, gamma=(0.7, 1.5)),
            RandSimulateLowResolutiond("image", prob=p, zoom_range=(0.5, 1.0)),
            RandGaussianSmoothd("image", prob=p / 2, sigma_x=(0.3, 0.8), sigma_y=(0.3, 0.8), sigma_z=(0.3, 0.8)),
            RandScaleIntensityd("image", factors=0.2, prob=2 * p),
            RandShiftIntensityd("image", offsets=0.2, prob=2 * p),
            RandGaussianNoised("image", prob=p, std=0.15),
            RandFlipd(both, prob=settings.flip_left_right, spatial_axis=0),
            RandGridDistortiond(
                both,
                prob=settings.distortion,
                num_cells=4,
                distort_limit=0.15,
                mode=["bilinear", "nearest"],  # type: ignore[arg-type]  # one for each key
                padding_mode="zeros",
            ),
            RandAffined(
                both,
                prob=1.0,
                spatial_size=tuple(size),
                rotate_range=(settings.rotate,) * 3,
                scale_range=(settings.scale,) * 3,
                translate_range=(settings.translate,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
        ]
    )


def small_moves(dimensions: int) -> RandAffined:
    """Turns, scales and shifts half of the images a little, as real anatomy varies; their look stays true.

    By cubic splines, which do not blur as linear interpolation does; beyond its edge an image is mirrored.

    Takes and returns a dictionary with `image` (c, *size) float and, if there is one, `label` (1, *size).
    """
    return RandAffined(
        ("image", "label"),
        prob=0.5,
        rotate_range=(ROTATE,) * (dimensions if dimensions == 3 else 1),
        scale_range=(SCALE,) * dimensions,
        translate_range=(SHIFT,) * dimensions,
        mode=(3, "nearest"),  # type: ignore[arg-type]  # one for each key: the order of splines, or a name
        padding_mode=("mirror", "reflection"),  # as SciPy and torch call it
        allow_missing_keys=True,
    )

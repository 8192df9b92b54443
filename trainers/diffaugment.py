"""Random changes of images between generator and discriminator, through which gradients flow (DiffAugment, ADA).

Zhao et al., "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020: the discriminator sees real
and generated images through the same changes, so that it cannot learn few images by heart, and the generator does not
learn the changes. Karras et al., "Training generative adversarial networks with limited data", NeurIPS 2020: how often
images are changed follows from how sure the discriminator is (ADA).

Images are (n, c, *spatial), 2D or 3D, in [-1, 1] with -1 outside the body. A condition, e.g. a one-hot mask, may be
concatenated to them: it moves with the image, its values are left alone. Random numbers come from torch's global
generator of the images' device, and as many whatever the probability. Take R1 and R2 at the changed images: resampling
can be differentiated once only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class DiffAugmentSettings:
    """How far images are changed; 0 leaves a change out. Defaults are the paper's.

    Attributes:
        brightness: largest shift of grey values. contrast: largest relative change of the distance to the mean.
        translate: largest shift along each axis, share of its length; whole voxels.
        cutout: edge of the hidden box, share of each axis' length; it may stick out of the image.
        flip_axis: spatial axis that is mirrored, half the time; None for bodies whose sides differ.
        scale: largest relative change of size. rotate: largest angle, radians, about every axis; voxels are taken for
            cubes. These two resample the image, and take the nearest voxel of the condition.
        image_channels: the first so many channels are the image, the others its condition; 0 is all.
        background: value outside the image, or one a channel, the last one repeated; (1, 0) for a one-hot label map.
        condition_background: the same outside the condition; a one-hot mask's by default.
    """

    brightness: float = 0.5
    contrast: float = 0.5
    translate: float = 0.125
    cutout: float = 0.5
    flip_axis: int | None = None
    scale: float = 0.0
    rotate: float = 0.0
    image_channels: int = 0
    background: float | Sequence[float] = -1.0
    condition_background: float | Sequence[float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        """Raises ValueError for changes that make no sense."""
        for name in ("contrast", "translate", "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {getattr(self, name)}.")
        for name in ("brightness", "rotate", "image_channels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; it is {getattr(self, name)}.")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale must be at least 0 and below 1, not {self.scale}.")
        if any(isinstance(b, Sequence) and not b for b in (self.background, self.condition_background)):
            raise ValueError("background and condition_background need at least one value each.")


def augment(images: Tensor, p: float | Tensor, settings: DiffAugmentSettings = DiffAugmentSettings()) -> Tensor:
    """Changes each sample by each change with probability `p`; grey values first, so that the padding stays background.

    Args:
        images: (n, c, *spatial) with two or three spatial axes.
        p: probability in [0, 1]; a tensor is one number.
        settings: how far.

    Returns:
        Images of the same shape and type; the very same values where nothing was changed.

    Raises:
        ValueError: the images have another number of axes, or fewer channels than the settings say.
    """
    _check(images, settings)
    image, condition = _split(images, settings)
    images = torch.cat([_colour(image, p, settings), condition], 1)
    for change in (_flip, _resample, _translate, _cut_out):
        images = change(images, p, settings)
    return images


class DiffAugment(nn.Module):
    """`augment` with a fixed probability; leaves images alone when not training."""

    p: Tensor

    def __init__(self, settings: DiffAugmentSettings = DiffAugmentSettings(), p: float = 1.0) -> None:
        """`settings`: how far. `p`: how often each change is made, 0 to 1. Raises ValueError for another `p`."""
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"A probability is from 0 to 1, not {p}.")
        self.settings = settings
        self.register_buffer("p", torch.tensor(float(p)))

    def forward(self, images: Tensor) -> Tensor:
        """See `augment`."""
        return augment(images, self.p, self.settings) if self.training else images


class AdaptiveAugment(DiffAugment):
    """Augments as often as the discriminator's certainty calls for: Karras et al., section 3, equation 1.

    r_t = E[sign(D(x))] over recent real images is 0 for a discriminator that does not know and 1 for one that knows
    them by heart. `p` rises while r_t is above the target, and falls below it.

    `p` and `sign` (r_t) are buffers: checkpoints keep them. Has no parameters, so make it a part of the
    discriminator where several processes train; `update` averages over them.
    """

    sign: Tensor

    def __init__(
        self,
        settings: DiffAugmentSettings = DiffAugmentSettings(),
        target: float = 0.6,
        kimg: float = 500.0,
        maximum: float = 0.8,
        window: int = 4,
    ) -> None:
        """Starts at p = 0.

        Args:
            settings: how far images are changed.
            target: of r_t.
            kimg: thousands of real images in which p can go from 0 to 1; fewer for short runs.
            maximum: of p; above 0.8 the generator may learn the changes (ibid., section 2.2).
            window: updates that r_t is averaged over, by an exponential mean.

        Raises:
            ValueError: a setting is out of range.
        """
        super().__init__(settings, p=0.0)
        if not (-1 < target < 1 and kimg > 0 and 0 <= maximum <= 1 and window >= 1):
            raise ValueError(
                "ADA needs a target between -1 and 1, kimg above 0, a maximum from 0 to 1 and a window of 1 or more; "
                f"these are {target}, {kimg}, {maximum} and {window}."
            )
        self.target, self.kimg, self.maximum, self.window = target, kimg, maximum, window
        self.register_buffer("sign", torch.tensor(0.0))

    @torch.no_grad()
    def update(self, real: Tensor, fake: Tensor | None = None) -> None:
        """Learns from the scores of one batch of real images, once a step, whatever the loss.

        Args:
            real: scores (n, ...).
            fake: scores (m, ...) of generated images, for losses to which only differences of scores mean something
                (relativistic, Wasserstein): then the sign is that of each real score minus the mean fake one, at
                the same patch.
        """
        certainty, images = _over_processes(_mean_sign(real, fake), len(real))
        self.sign.lerp_(certainty, 1 / self.window)
        step = torch.sign(self.sign - self.target) * images / (self.kimg * 1000)
        self.p.add_(step).clamp_(0, self.maximum)


def _mean_sign(real: Tensor, fake: Tensor | None) -> Tensor:
    scores = real.float()
    return torch.sign(scores if fake is None else scores - fake.float().mean(0)).mean()


def _over_processes(mean: Tensor, images: int) -> tuple[Tensor, int]:
    """A mean over the batches of all processes, which are of one size, and the images in them."""
    if not (dist.is_available() and dist.is_initialized()):
        return mean, images
    dist.all_reduce(mean)
    return mean / dist.get_world_size(), images * dist.get_world_size()


def _check(images: Tensor, settings: DiffAugmentSettings) -> None:
    spatial = images.ndim - 2
    if spatial not in (2, 3):
        raise ValueError(f"Images are (n, c, *spatial) with 2 or 3 spatial axes; these are {tuple(images.shape)}.")
    if settings.image_channels > images.shape[1]:
        raise ValueError(f"The image should be the first {settings.image_channels} channels of {images.shape[1]}.")
    if settings.flip_axis is not None and not 0 <= settings.flip_axis < spatial:
        raise ValueError(f"There is no spatial axis {settings.flip_axis} to flip in {spatial}D images.")


def _split(images: Tensor, settings: DiffAugmentSettings) -> tuple[Tensor, Tensor]:
    """The image and its condition, which may have no channels."""
    count = settings.image_channels or images.shape[1]
    return images[:, :count], images[:, count:]


def _colour(image: Tensor, p: float | Tensor, settings: DiffAugmentSettings) -> Tensor:
    """Brightness, then contrast about the mean of each sample; both add 0 to samples that stay as they are."""
    if settings.brightness:
        image = image + _sometimes(image, p) * _uniform(image) * settings.brightness
    if settings.contrast:
        mean = image.mean(tuple(range(1, image.ndim)), keepdim=True)
        image = image + (image - mean) * _sometimes(image, p) * _uniform(image) * settings.contrast
    return image


def _flip(images: Tensor, p: float | Tensor, settings: DiffAugmentSettings) -> Tensor:
    if settings.flip_axis is None:
        return images
    return torch.where(_sometimes(images, p, 0.5).bool(), images.flip(2 + settings.flip_axis), images)


def _translate(images: Tensor, p: float | Tensor, settings: DiffAugmentSettings) -> Tensor:
    """Moves by whole voxels: each sample is rolled, and what came round is background."""
    if not settings.translate:
        return images
    chosen, shifts, inside = _sometimes(images, p).flatten().long(), [], []
    for axis, length in enumerate(images.shape[2:]):
        furthest = int(length * settings.translate + 0.5)
        shift = torch.randint(-furthest, furthest + 1, (len(images),), device=images.device) * chosen
        source = torch.arange(length, device=images.device) - shift[:, None]
        shifts.append(shift)
        inside.append(_along((source >= 0) & (source < length), axis, images))
    axes = tuple(range(1, images.ndim - 1))
    each = torch.stack(shifts, 1).tolist()
    rolled = torch.stack([image.roll(shift, axes) for image, shift in zip(images, each, strict=True)])
    return torch.where(_all(inside), rolled, _background(images, settings))


def _cut_out(images: Tensor, p: float | Tensor, settings: DiffAugmentSettings) -> Tensor:
    """Hides a box, centred anywhere in the image."""
    if not settings.cutout:
        return images
    within = [_sometimes(images, p).bool()]
    for axis, length in enumerate(images.shape[2:]):
        width = int(length * settings.cutout + 0.5)
        start = torch.randint(0, length, (len(images), 1), device=images.device) - width // 2
        index = torch.arange(length, device=images.device)
        within.append(_along((index >= start) & (index < start + width), axis, images))
    return torch.where(_all(within), _background(images, settings), images)


def _along(values: Tensor, axis: int, images: Tensor) -> Tensor:
    """Values (n, length) along a spatial axis of images, 1 long along the others."""
    return values.reshape(len(values), 1, *(-1 if a == axis else 1 for a in range(images.ndim - 2)))


def _all(conditions: Sequence[Tensor]) -> Tensor:
    return reduce(torch.logical_and, conditions)


def _resample(images: Tensor, p: float | Tensor, settings: DiffAugmentSettings) -> Tensor:
    """Scales and rotates about the centre, in one resampling."""
    if not (settings.scale or settings.rotate):
        return images
    chosen, background = _sometimes(images, p).bool(), _background(images, settings)
    grid = functional.affine_grid(_random_affine(images, settings), list(images.shape), align_corners=False)
    above = (images - background).float()
    image, condition = _split(above, settings)
    parts = [functional.grid_sample(image, grid, "bilinear", "zeros", align_corners=False)]
    if condition.shape[1]:
        parts.append(functional.grid_sample(condition, grid, "nearest", "zeros", align_corners=False))
    return torch.where(chosen, torch.cat(parts, 1).to(images.dtype) + background, images)


def _random_affine(images: Tensor, settings: DiffAugmentSettings) -> Tensor:
    """Matrices (n, d, d + 1) from output to input coordinates as `affine_grid` takes them: last axis first, ±1."""
    count, sizes = len(images), images.shape[2:]
    matrix = torch.eye(len(sizes), device=images.device).repeat(count, 1, 1)
    for a, b in ((0, 1), (0, 2), (1, 2))[: 1 if len(sizes) == 2 else 3]:
        angle = settings.rotate * _uniform(images).float().flatten()
        turn = torch.eye(len(sizes), device=images.device).repeat(count, 1, 1)
        turn[:, a, a], turn[:, b, b] = angle.cos(), angle.cos()
        turn[:, a, b], turn[:, b, a] = -angle.sin(), angle.sin()
        matrix = matrix @ turn
    larger = 1 + settings.scale * _uniform(images).float().reshape(-1, 1, 1)
    half = torch.tensor(sizes, device=images.device, dtype=torch.float32) / 2
    normalised = (matrix / larger * half / half[:, None]).flip(1, 2)
    return functional.pad(normalised, (0, 1))


def _background(images: Tensor, settings: DiffAugmentSettings) -> Tensor:
    """What is outside each channel, (1, c, 1, ...)."""
    image, condition = (part.shape[1] for part in _split(images, settings))
    values = _repeated(settings.background, image) + _repeated(settings.condition_background, condition)
    return images.new_tensor(values).reshape(1, -1, *[1] * (images.ndim - 2))


def _repeated(given: float | Sequence[float], channels: int) -> list[float]:
    """A value for each channel, the last one over and over."""
    values = _listed(given)
    return (values + values[-1:] * channels)[:channels]


def _listed(given: float | Sequence[float]) -> list[float]:
    return [given] if isinstance(given, float | int) else list(given)


def _sometimes(images: Tensor, p: float | Tensor, factor: float = 1.0) -> Tensor:
    """1 for each sample with probability factor * p, else 0; (n, 1, ...)."""
    shape = (len(images), *[1] * (images.ndim - 1))
    return (torch.rand(shape, device=images.device) < p * factor).to(images.dtype)


def _uniform(images: Tensor) -> Tensor:
    """A number in [-1, 1) for each sample, (n, 1, ...)."""
    shape = (len(images), *[1] * (images.ndim - 1))
    return (2 * torch.rand(shape, device=images.device) - 1).to(images.dtype)

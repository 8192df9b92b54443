"""What a reconstruction network learns: the image, how far off it may be, and optionally to fool a discriminator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainers.checksums import checksum
from trainers.losses.adversarial import hinge_discriminator, hinge_generator
from trainers.metrics.reconstruction import psnr
from trainers.networks import build
from trainers.networks.reconstruction import Reconstruction, expected_error
from trainers.task import Batch, Phase, TrainingTask
from trainers.tasks.reconstruction.measurement import Measured, Measurement

DISCRIMINATOR = {"name": "PatchDiscriminator", "channels": 16, "in_channels": 2, "norm": "INSTANCE"}
SCALES = 0.25
"""Largest logarithm by which the unit of a training image is off: where the truth is not known, it is off too."""
Images = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class ReconstructionConfig:
    """What to learn from.

    Attributes:
        patch: size of a training image, voxels, as many axes as the measurement has.
        adversarial: weight of fooling the discriminator; 0 learns without one. features: weight of matching its
            features (Wang et al., "High-resolution image synthesis with conditional GANs", CVPR 2018, equation 4).
        doubt: weight of learning how far off the image is.
        seed: of batches.
    """

    patch: tuple[int, ...] = (32, 48, 32)
    adversarial: float = 0.0
    features: float = 0.02
    doubt: float = 0.1
    seed: int = 0


class ReconstructionTask(TrainingTask):
    """A network that undoes a measurement. Read by `trainers.fit.fit`.

    L1 on the image first; then, in a run of its own, L1 with an adversarial loss from a discriminator that sees the
    image beside the plain reconstruction (Isola et al., "Image-to-image translation with conditional adversarial
    networks", CVPR 2017, equation 4).
    """

    key_metric = "psnr"

    def __init__(
        self,
        network: nn.Module,
        measurement: Measurement,
        train: Images,
        validation: Images = (),
        config: ReconstructionConfig = ReconstructionConfig(),
    ) -> None:
        """Takes images; those that are not in memory are read when they are drawn.

        Args:
            network: takes what `measurement.measure` returns, gives a `Reconstruction`.
            measurement: how.
            train: volumes (k, x, y, z), as `measurement.prepare` makes them.
            validation: the same, of other patients; none measures nothing.
            config: how.
        """
        self.measurement, self.config, self.seed = measurement, config, config.seed
        self.train, self.validation = train, validation
        self.key_metric = "psnr" if self.validation else ""
        self.networks = {"generator": network}
        if config.adversarial:
            torch.manual_seed(config.seed)
            halvings = max(1, min(3, int(math.log2(min(config.patch))) - 2))
            self.networks["discriminator"] = build(
                {**DISCRIMINATOR, "spatial_dims": measurement.dimensions, "num_layers_d": halvings}
            )

    def phases(self) -> list[Phase]:
        """Discriminator first, if there is one, then the network."""
        generator = Phase("generator", ("generator",), self._generator_losses)
        if not self.config.adversarial:
            return [generator]
        return [Phase("discriminator", ("discriminator",), self._discriminator_losses), generator]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """Images (b, 1, *patch), what is measured of them, and their plain reconstruction as `plain`."""
        random = np.random.default_rng([self.seed, step, rank])
        images = torch.from_numpy(np.stack([self._cut(random) * self._scale(random) for _ in range(size)]))
        measured = self.measurement.measure(images, int(random.integers(2**31)))
        batch = {"image": images[:, :1], **measured}
        if self.config.adversarial:
            batch["plain"] = list(self.measurement.plain(measured).values())[-1]
        return batch

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Mean PSNR, dB, over the validation volumes."""
        found = []
        for number, volume in enumerate(self.validation):
            images = as_images(volume, self.measurement)
            truth, measured = self.measurement.as_served(images[:, :1], self.measurement.measure(images, number))
            device = next(networks["generator"].parameters()).device
            image = networks["generator"](**{k: v.to(device) for k, v in measured.items()}).image
            found.append(psnr(shown(image).cpu().numpy(), truth.numpy()))
        return {"psnr": float(np.mean(found))}

    def identity(self) -> dict[str, Any]:
        """The measurement, the settings and checksums of the images."""
        return {"measurement": repr(self.measurement), "config": asdict(self.config), **self._checksums}

    @cached_property
    def _checksums(self) -> dict[str, str]:
        """Made once: volumes that do not fit into memory are read for it."""
        return {part: checksum(getattr(self, part)) for part in ("train", "validation")}

    def _generator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = self._reconstruct(batch)
        image = shown(found.image)
        error = (image - batch["image"]).abs()
        losses = {"l1": error.mean(), "doubt": self.config.doubt * doubt(error, found.log_error)}
        if self.config.adversarial:
            fake = self._judge(image, batch["plain"])
            with torch.no_grad():
                real = self._judge(batch["image"], batch["plain"])
            losses["adversarial"] = self.config.adversarial * hinge_generator(None, fake[-1].float())
            losses["features"] = self.config.features * feature_matching(fake[:-1], real[:-1])
        return losses

    def _discriminator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            made = shown(self._reconstruct(batch).image)
        real, fake = (self._judge(image, batch["plain"])[-1].float() for image in (batch["image"], made))
        return {"hinge": hinge_discriminator(real, fake)}

    def _reconstruct(self, batch: Batch) -> Reconstruction:
        measured: Measured = {k: v for k, v in batch.items() if k not in ("image", "plain")}
        found: Reconstruction = self.networks["generator"](**measured)
        return found

    def _judge(self, image: torch.Tensor, plain: torch.Tensor) -> list[torch.Tensor]:
        """The discriminator's features of an image beside its plain reconstruction, its scores last."""
        features: list[torch.Tensor] = self.networks["discriminator"](torch.cat([image, plain], 1))
        return features

    def _cut(self, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """A patch (k, *patch) at random, mirrored at random; a slice at random, if the network sees slices."""
        volume = self.train[int(random.integers(len(self.train)))]
        if self.measurement.dimensions == 2:
            volume = volume[..., int(random.integers(volume.shape[3]))]
        patch, size = self.config.patch, volume.shape[1:]
        short = [max(0, p - n) for p, n in zip(patch, size, strict=True)]
        if any(short):
            volume = np.pad(volume, [(0, 0), *((s // 2, s - s // 2) for s in short)], mode="reflect")
        starts = [int(random.integers(n - p + 1)) for n, p in zip(volume.shape[1:], patch, strict=True)]
        cut = volume[(slice(None), *(slice(s, s + p) for s, p in zip(starts, patch, strict=True)))]
        flips = [axis for axis in range(1, cut.ndim) if random.random() < 0.5]
        return np.ascontiguousarray(np.flip(cut, flips), dtype=np.float32)

    def _scale(self, random: np.random.Generator) -> np.float32:
        """By how much a training image is off its unit."""
        return np.float32(1 if self.measurement.target else np.exp(random.uniform(-SCALES, SCALES)))


def shown(image: torch.Tensor) -> torch.Tensor:
    """What one looks at: an image, the magnitude of a complex one."""
    return image.abs() if image.is_complex() else image


def doubt(error: torch.Tensor, log_error: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of errors under a Laplace distribution of the given scale, without its constant.

    Kendall and Gal, "What uncertainties do we need in Bayesian deep learning for computer vision?", NeurIPS 2017,
    equation 8 with the L1 norm. The error is taken as it is: no image is made worse to be surer of it.
    """
    expected = expected_error(log_error)
    return (error.detach() / expected + expected.log()).mean()


def feature_matching(fake: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of a discriminator's features of generated and real images.

    Wang et al., CVPR 2018, equation 4.
    """
    return torch.stack([(a - b).abs().mean() for a, b in zip(fake, real, strict=True)]).mean()


def as_images(volume: npt.NDArray[np.float32], measurement: Measurement) -> torch.Tensor:
    """A prepared volume as the network sees it: (1, k, x, y, z) or slices (z, k, x, y), cropped to whole blocks."""
    size = [n // m * m for n, m in zip(volume.shape[1:], measurement.multiple(), strict=False)]
    cut = volume[(slice(None), *(slice(n) for n in size))]
    stacked = np.moveaxis(cut, 3, 0) if measurement.dimensions == 2 else cut[None]
    return torch.from_numpy(np.ascontiguousarray(stacked))

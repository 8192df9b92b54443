"""f-AnoGAN, the reference: what a generator of healthy images cannot make is not healthy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from trainers.checksums import checksum
from trainers.networks import build
from trainers.networks.discriminator import DCGANDiscriminator
from trainers.networks.encoder import LatentEncoder
from trainers.networks.generator import Generator
from trainers.task import Batch, Phase, TrainingTask
from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.methods.reading import Reading, smooth

FEATURES = 1.0
"""Weight of features beside grey values: kappa of equations 4 and 5."""
SMOOTH = 1.0  # voxels


class FAnoGAN(nn.Module):
    """The image beside what the generator makes of its latent, which an encoder finds.

    Schlegl et al., "f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks", Medical Image
    Analysis 2019: a WGAN with gradient penalty, the encoder izi_f (equation 4), the score of an image (equations 5 to
    7) and the absolute difference as its map (equation 8), which is smoothed here.

    Args:
        generator, discriminator: of the GAN, for `trainers.networks.build`. encoder: arguments of `LatentEncoder`.
    """

    def __init__(self, generator: dict[str, Any], discriminator: dict[str, Any], encoder: dict[str, Any]) -> None:
        super().__init__()
        self.generator = cast(Generator, build(generator))
        self.discriminator = cast(DCGANDiscriminator, build(discriminator))
        self.encoder = LatentEncoder(**encoder)

    def forward(self, image: Tensor) -> Reading:
        """Looks at images (b, channel, *size) in [-1, 1]."""
        made = self.restored(image)
        score = _mean_square(image - made) + FEATURES * _mean_square(self.features(image) - self.features(made))
        return Reading(smooth((image - made).abs().mean(1, keepdim=True), SMOOTH), score)

    def restored(self, image: Tensor) -> Tensor:
        """What the generator makes of the image's latent."""
        made: Tensor = self.generator([self.encoder(image)])
        return made

    def features(self, image: Tensor) -> Tensor:
        """Of the discriminator's last layer but one, (b, features)."""
        found: Tensor = self.discriminator.layers(image)
        return found


@dataclass(frozen=True)
class MappingConfig:
    """Of the encoder: widths of its levels, and the seed of batches."""

    channels: tuple[int, ...] = (32, 64, 128)
    seed: int = 0


class MappingTask(TrainingTask):
    """Learns the encoder izi_f of a GAN that is trained already and stays as it is."""

    key_metric = "difference"
    higher_is_better = False

    def __init__(self, model: FAnoGAN, train: Floats, validation: Floats, config: MappingConfig) -> None:
        """Takes healthy images (n, channel, *size) in [-1, 1]."""
        self.model, self.train, self.validation = model, train, torch.from_numpy(validation)
        self.config, self.seed = config, config.seed
        for network in (model.generator, model.discriminator):
            network.requires_grad_(False)
        self.networks = {"encoder": model.encoder}

    def phases(self) -> list[Phase]:
        """The encoder alone."""
        return [Phase("encoder", ("encoder",), self._losses)]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """`image` (b, channel, *size)."""
        random = np.random.default_rng([self.config.seed, step, rank])
        return {"image": torch.from_numpy(self.train[random.integers(len(self.train), size=size)])}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """The mean square of the difference between image and what is made of it."""
        encoder = networks["encoder"]
        device = next(encoder.parameters()).device
        found = [self.model.generator([encoder(x.to(device))]).cpu() - x for x in self.validation.split(64)]
        return {"difference": float(torch.cat(found).square().mean())}

    def identity(self) -> dict[str, Any]:
        """The settings and a checksum of the images."""
        images = checksum([self.train])
        return {"channels": list(self.config.channels), "seed": self.config.seed, "images": images}

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Equation 4."""
        image, model = batch["image"], self.model.to(batch["image"].device).eval()
        made = model.generator([self.networks["encoder"](image)]).float()
        apart = model.features(image).float() - model.features(made).float()
        return {"image": _mean_square(image - made).mean(), "features": FEATURES * _mean_square(apart).mean()}


def _mean_square(difference: Tensor) -> Tensor:
    return difference.flatten(1).square().mean(1)

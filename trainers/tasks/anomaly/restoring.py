"""What the default method learns: to restore spoiled places of healthy images, and to tell which ones were spoiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.checksums import checksum
from trainers.metrics.anomaly import average_precision
from trainers.networks import build
from trainers.task import Batch, Phase, TrainingTask
from trainers.tasks.anomaly.corruption import Floats, spoil

RESTORER, JUDGE = "restorer", "judge"
WATCHED = 24  # spoiled images of the validation
WATCH_SEED = 2**31
BATCH = 8
RESTORE_EVERY = 2  # steps
HEALTHY = -3.0  # logit that the judge begins with everywhere: most places are


@dataclass(frozen=True)
class RestoringConfig:
    """Weights of the losses.

    Attributes:
        patch: size of the part of an image that is looked at in training; empty takes the whole.
        channels: of the levels of both networks. fold, norm: see `trainers.networks.unet.ResidualUNet`.
        restore: weight of the mean absolute difference to the healthy image, over all and over spoiled places.
        adversarial: of fooling the judge.
        overlap: of the Dice loss of the judge's map of spoiled places, beside its cross-entropy.
        filled: share of the images whose spoiled places the judge sees as the restorer has filled them.
        seed: of batches.
    """

    patch: tuple[int, ...] = ()
    channels: tuple[int, ...] = (32, 64, 96)
    fold: int = 1
    norm: bool = False
    restore: float = 2.0
    adversarial: float = 0.02
    overlap: float = 0.5
    filled: float = 0.25
    seed: int = 0


class RestoringTask(TrainingTask):
    """A restorer and a judge that looks at each voxel.

    The restorer, a U-Net, makes spoiled images healthy. The judge, a U-Net too, tells each voxel's logit of not being
    healthy: of spoiled places, and of those that the restorer has filled, which tries to fool it. A discriminator that
    judges each voxel, and images of which only a part is not real, are those of Schönfeld et al., "A U-Net based
    discriminator for generative adversarial networks", CVPR 2020, equations 4 and 5. Only healthy images are needed.
    """

    key_metric = "found"
    higher_is_better = True

    def __init__(self, train: Floats, validation: Floats, config: RestoringConfig = RestoringConfig()) -> None:
        """Builds the networks.

        Args:
            train: healthy images, (n, channel, *size) in [-1, 1], n at least 2.
            validation: others.
            config: how to learn.
        """
        self.train, self.config, self.seed = train, config, config.seed
        self.described = unet(train.ndim - 2, train.shape[1], config)
        self.networks = {name: build(network) for name, network in self.described.items()}
        random = np.random.default_rng(WATCH_SEED)
        number = min(len(validation), WATCHED)
        self._watched = _spoilt(validation[:number], validation[random.permutation(number)], random)

    def phases(self) -> list[Phase]:
        """The judge at every step, the restorer at some."""
        restorer = Phase(RESTORER, (RESTORER,), self._restorer_losses, every=RESTORE_EVERY)
        return [Phase(JUDGE, (JUDGE,), self._judge_losses), restorer]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """`image` healthy, `spoilt`, both (b, channel, *size), and `mask` (b, 1, *size), 1 where it is spoilt."""
        random = np.random.default_rng([self.config.seed, step, rank])
        images, others = (self._parts(random, size) for _ in range(2))
        spoilt, mask = _spoilt(images, others, random)
        return {"image": torch.from_numpy(images), "spoilt": spoilt, "mask": mask}

    def _parts(self, random: np.random.Generator, number: int) -> Floats:
        """Parts of images at random."""
        whole = self.train.shape[2:]
        patch, found = self.config.patch or whole, []
        for chosen in random.integers(len(self.train), size=number):
            corner = [int(random.integers(n - p + 1)) for n, p in zip(whole, patch, strict=True)]
            place = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
            found.append(self.train[(chosen, slice(None), *place)])
        return np.stack(found)

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Area under precision and recall of the voxels that were spoiled, by the judge's map."""
        spoilt, mask = self._watched
        device = next(networks[JUDGE].parameters()).device
        logits = torch.cat([networks[JUDGE](part.to(device)).float().cpu() for part in spoilt.split(BATCH)])
        where = mask.bool()
        return {"found": average_precision(logits[~where].numpy(), logits[where].numpy())}

    def identity(self) -> dict[str, Any]:
        """The settings and a checksum of the images."""
        return {"config": asdict(self.config), "images": checksum([self.train])}

    def _judge_losses(self, batch: Batch) -> dict[str, Tensor]:
        spoilt, mask = batch["spoilt"], batch["mask"]
        filled = max(1, round(self.config.filled * len(spoilt)))
        with torch.no_grad():
            restored = _filled(spoilt[:filled], self._restored(spoilt[:filled]), mask[:filled])
        logits = self.networks[JUDGE](torch.cat([restored, spoilt[filled:]])).float()
        return {
            "spoilt": functional.binary_cross_entropy_with_logits(logits, mask),
            "overlap": self.config.overlap * _dice_loss(logits[filled:].sigmoid(), mask[filled:]),
        }

    def _restorer_losses(self, batch: Batch) -> dict[str, Tensor]:
        spoilt, mask = batch["spoilt"], batch["mask"]
        restored = self._restored(spoilt)
        judged = self.networks[JUDGE](_filled(spoilt, restored, mask)).float()
        apart = (restored - batch["image"]).abs().mean(1, keepdim=True)
        return {
            "restore": self.config.restore * (apart.mean() + _inside(apart, mask)),
            "adversarial": self.config.adversarial * _inside(functional.softplus(judged), mask),
        }

    def _restored(self, spoilt: Tensor) -> Tensor:
        return spoilt + self.networks[RESTORER](spoilt).float()


def unet(dimensions: int, channels: int, config: RestoringConfig) -> dict[str, dict[str, Any]]:
    """Descriptions of both networks for images of so many channels."""
    described = {
        "name": "ResidualUNet", "spatial_dims": dimensions, "inputs": channels, "channels": list(config.channels),
        "fold": config.fold, "norm": config.norm,
    }  # fmt: skip
    return {RESTORER: {**described, "outputs": channels}, JUDGE: {**described, "outputs": 1, "bias": HEALTHY}}


def _spoilt(images: Floats, others: Floats, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    made = [spoil(image, other, random) for image, other in zip(images, others, strict=True)]
    spoilt, masks = (np.stack(part) for part in zip(*made, strict=True))
    return torch.from_numpy(spoilt), torch.from_numpy(masks[:, None].astype(np.float32))


def _inside(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over spoiled places, which are few: over a whole volume, to change nothing would be nearly the best."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _filled(spoilt: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
    """The image with what was restored in the spoiled places, and nowhere else."""
    return spoilt + mask * (restored - spoilt)


def _dice_loss(share: Tensor, mask: Tensor) -> Tensor:
    """1 - Dice of each image, averaged; a voxel each is counted for empty maps (Milletari et al. 2016, section 3)."""
    axes = tuple(range(1, share.ndim))
    return (1 - (2 * (share * mask).sum(axes) + 1) / (share.sum(axes) + mask.sum(axes) + 1)).mean()

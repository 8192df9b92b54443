"""The default: places that a judge takes for spoiled or that are restored differently, and the look of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.networks.unet import ResidualUNet
from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.methods.reading import Reading, smooth
from trainers.tasks.anomaly.methods.typical import TypicalDetail
from trainers.tasks.anomaly.restoring import HEALTHY

SMOOTH = 1.0  # voxels
HOT = 0.005  # share of the voxels whose mean heat tells of an image's places
BATCH = 16
GREY = 0.0  # what in-painting starts from


class Restoration(nn.Module):
    """The networks of `trainers.tasks.anomaly.restoring` and `TypicalDetail`.

    Heat is the judge's logit, made positive, and the smoothed difference to the restored image, each in units of its
    spread in healthy images. The score is the larger of how hot the hottest places are and how unusual the detail of
    the whole is, each in standard deviations of healthy images: one spot is enough, and so is a strange look.

    Args:
        restorer, judge: arguments of `ResidualUNet`. grid, sigmas: of `TypicalDetail`.
        residual: weight of the difference to the restored image beside the judge's logit.
    """

    def __init__(
        self,
        restorer: dict[str, Any],
        judge: dict[str, Any],
        grid: Sequence[int],
        sigmas: Sequence[float] = (0.7, 1.4, 2.8),
        residual: float = 0.5,
    ) -> None:
        super().__init__()
        self.restorer, self.judge = ResidualUNet(**restorer), ResidualUNet(**judge)
        self.typical = TypicalDetail(grid, sigmas, restorer["inputs"])
        self.residual = residual
        self.spread: Tensor
        self.usual: Tensor
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("usual", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    @torch.inference_mode()
    def settle(self, train: Floats, validation: Floats) -> None:
        """Learns what is usual in healthy images (n, channel, *size); the networks learned from `train` alone."""
        self.typical.learn(train)
        parts = [self._parts(x) for x in torch.from_numpy(validation).split(BATCH)]
        judged, apart = (torch.cat(part) for part in zip(*parts, strict=True))
        self.spread.copy_(torch.stack([judged.std(), apart.std()]).clamp(min=1e-6))
        looks = torch.cat([self._looks(x) for x in torch.from_numpy(validation).split(BATCH)])
        self.usual.copy_(torch.stack([looks.mean(0), looks.std(0).clamp(min=1e-6)], 1))

    @torch.inference_mode()
    def recentre(self, images: Floats, share: float) -> None:
        """Takes healthy images of another site, (n, channel, *size), for usual, by a share; their spread stays."""
        batches = torch.from_numpy(images).split(BATCH)
        energies = torch.cat([self.typical.energies(x) for x in batches]).mean(0)
        self.typical.mean.lerp_(energies, share)
        looks = torch.cat([self._looks(x) for x in batches])
        self.usual.lerp_(torch.stack([looks.mean(0), looks.std(0).clamp(min=1e-6)], 1), share)

    def forward(self, image: Tensor) -> Reading:
        """Looks at images (b, channel, *size) in [-1, 1]."""
        heat = self.heat(image)
        looks = torch.stack([_hottest(heat), self.typical(image)], 1)
        return Reading(heat, ((looks - self.usual[:, 0]) / self.usual[:, 1]).amax(1))

    def heat(self, image: Tensor) -> Tensor:
        """The map alone, (b, 1, *size)."""
        judged, apart = self._parts(image)
        return judged / self.spread[0] + self.residual * apart / self.spread[1]

    def refined(self, image: Tensor, hot: Tensor) -> Tensor:
        """Heat after in-painting: hot places are erased, filled anew by the restorer, and compared with what was there.

        Args:
            image: (b, channel, *size).
            hot: (b, 1, *size), which voxels are erased.

        Returns:
            The heat where the filling does not agree with the image, and half of it where it does.
        """
        erased = torch.where(hot, torch.full_like(image, GREY), image)
        filled = erased + self.restorer(erased).float()
        apart = smooth((image - filled).abs().mean(1, keepdim=True), SMOOTH) / self.spread[1]
        doubt = 0.5 + 0.5 * (apart / 3).clamp(max=1)
        return torch.where(hot, doubt, torch.ones_like(doubt)) * self.heat(image)

    def _parts(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The judge's logit above 0, softly, and the smoothed difference to what is restored, both (b, 1, *size)."""
        judged = functional.softplus(self.judge(image).float() - HEALTHY)
        apart = self.restorer(image).float().abs().mean(1, keepdim=True)
        return judged, smooth(apart, SMOOTH)

    def _looks(self, image: Tensor) -> Tensor:
        return torch.stack([_hottest(self.heat(image)), self.typical(image)], 1)


def _hottest(heat: Tensor) -> Tensor:
    """Mean heat of the hottest voxels, (b,)."""
    flat = heat.flatten(1)
    return flat.topk(max(1, int(np.ceil(HOT * flat.shape[1]))), 1).values.mean(1)

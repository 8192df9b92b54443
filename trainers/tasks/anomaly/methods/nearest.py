"""Nearest healthy features: a small PatchCore over an encoder that was trained on the healthy images themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from trainers.networks.blocks import resize
from trainers.networks.encoder import FeatureEncoder
from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.methods.reading import Reading, smooth

SMOOTH = 1.0  # voxels
CANDIDATES = 8000  # places of healthy images that the bank is chosen from
BATCH = 16


class NearestFeatures(nn.Module):
    """The distance of each place's features to the nearest ones in a bank of healthy ones.

    Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022: features of several stages, averaged
    over neighbours (equation 2), a bank thinned by greedy choice of the farthest (algorithm 1), and as the score the
    largest distance (equation 6, without its weights). The encoder is that of `trainers.metrics.encoder`; nothing is
    downloaded.

    Args:
        encoder: arguments of `FeatureEncoder`. size: of the bank.
    """

    def __init__(self, encoder: dict[str, Any], size: int = 512) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(**encoder)
        self.bank: torch.Tensor
        self.register_buffer("bank", torch.zeros(size, sum(self.encoder.channels)))

    @classmethod
    def learned(cls, encoder: dict[str, Any], trained: nn.Module, images: Floats, size: int = 512) -> NearestFeatures:
        """Fills the bank from healthy images, (n, channel, *size) in [-1, 1]; the same one each time."""
        made = cls(encoder, size)
        made.encoder.load_state_dict(trained.state_dict())
        made.eval()
        random = np.random.default_rng(0)
        each = max(1, CANDIDATES // len(images))
        found = []
        with torch.inference_mode():
            for part in torch.from_numpy(images).split(BATCH):
                features = made.features(part).flatten(2).transpose(1, 2)
                found += [f[random.permutation(len(f))[:each]] for f in features]
        made.bank.copy_(farthest(torch.cat(found), size))
        return made

    def forward(self, image: torch.Tensor) -> Reading:
        """Looks at images (b, channel, *size) in [-1, 1]."""
        features = self.features(image)
        rows = features.flatten(2).transpose(1, 2)
        distance = torch.stack([torch.cdist(r, self.bank).amin(1) for r in rows])
        heat = resize(distance.reshape(len(image), 1, *features.shape[2:]), image.shape[2:])
        return Reading(smooth(heat, SMOOTH), distance.amax(1))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Of all stages at the first one's places, each averaged over its neighbours: (b, features, *places)."""
        maps, x = [], image
        pool = nn.functional.avg_pool2d if image.ndim == 4 else nn.functional.avg_pool3d
        for stage in self.encoder.stages:
            x = stage(x)
            maps.append(pool(x, 3, 1, 1, count_include_pad=False))
        return torch.cat([resize(m, maps[0].shape[2:]) for m in maps], 1)


def farthest(rows: torch.Tensor, size: int) -> torch.Tensor:
    """`size` rows, each the farthest from those before (Roth et al. 2022, algorithm 1); repeated if there are fewer."""
    chosen = [0]
    nearest = torch.cdist(rows, rows[:1]).squeeze(1)
    while len(chosen) < size:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, torch.cdist(rows, rows[chosen[-1]][None]).squeeze(1))
    return rows[chosen]

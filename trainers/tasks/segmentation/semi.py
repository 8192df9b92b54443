"""Segmentation that also learns from images without labels, through a discriminator that judges label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trainers.checksums import checksum
from trainers.data.cases import Case, CasesError
from trainers.losses.adversarial import hinge_generator
from trainers.networks.blocks import resize
from trainers.spec import ModelSpec
from trainers.task import Batch
from trainers.tasks.segmentation.samples import as_tensors, load_unlabelled
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask


@dataclass(frozen=True)
class SemiConfig:
    """How much is made of images without labels; defaults are those of Hung et al. 2018, section 4.

    Attributes:
        adversarial: weight of fooling the discriminator with their label maps.
        self_training: weight of cross-entropy with the network's own labels where the discriminator is convinced.
        start: share of the run before they are used at all, until the network knows something.
    """

    adversarial: float = 0.001
    self_training: float = 0.1
    start: float = 0.2


class SemiSupervisedTask(SegmentationTask):
    """Adversarial semi-supervised segmentation.

    Hung et al., "Adversarial learning for semi-supervised semantic segmentation", BMVC 2018, equations 1 to 4: a
    discriminator tells true label maps from predicted ones; the network fools it on images with and without labels
    (equation 3), and learns its own prediction where the discriminator is convinced (equation 4). Here the
    discriminator also sees the image, judges patches, and is trained with the hinge loss.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        train: Sequence[Case],
        unlabelled: Sequence[Path],
        steps: int,
        config: SegmentationConfig = SegmentationConfig(adversarial=0.01),
        semi: SemiConfig = SemiConfig(),
        validation: Sequence[Case] = (),
        replay: Sequence[Case] = (),
    ) -> None:
        """Reads all images into memory.

        Args:
            spec: labels and preprocessing.
            network: what is trained.
            train: cases with labels.
            unlabelled: crops without.
            steps: of the run.
            config: as for all segmentation; its adversarial weight is for images with labels and must not be 0.
            semi: for those without.
            validation: cases to measure on.
            replay: cases mixed in.

        Raises:
            CasesError: nothing to learn from, or no adversarial weight. VolumeError: an image cannot be read.
        """
        if not config.adversarial or not unlabelled:
            raise CasesError("Learning without labels needs an adversarial weight above 0 and images without labels.")
        super().__init__(spec, network, train, validation, replay, config)
        self.semi, self.steps = semi, steps
        self.unlabelled = [load_unlabelled(path, spec) for path in unlabelled]
        self._names = [path.name for path in unlabelled]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """As without; beside it `unlabelled` images (b, 1, x, y, z), and whether they count at this step."""
        batch = super().batch(step, size, rank)
        random = np.random.default_rng([self.config.seed, step, rank, 1])
        self._augment.set_random_state(seed=int(random.integers(2**31)))
        chosen = [self.unlabelled[int(random.integers(len(self.unlabelled)))] for _ in range(size)]
        images = [self._augment(as_tensors(sample))["image"].as_tensor() for sample in chosen]
        active = torch.tensor(step >= self.semi.start * self.steps)
        return {**batch, "unlabelled": torch.stack(images).float(), "active": active}

    def identity(self) -> dict[str, Any]:
        """As without, and the images without labels."""
        images = checksum(sample.image for sample in self.unlabelled)
        return {**super().identity(), "unlabelled": self._names, "unlabelled_images": images, "semi": repr(self.semi)}

    def _generator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        losses = super()._generator_losses(batch)
        if not batch["active"]:
            return losses
        logits = self.networks["generator"](self._inputs(batch["unlabelled"])).float()
        scores = self._judge(batch["unlabelled"], torch.softmax(logits, 1))
        losses["fooled"] = self.semi.adversarial * hinge_generator(None, scores)
        losses["self_training"] = self.semi.self_training * self_training(logits, scores.detach())
        return losses


def self_training(logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with a network's own labels where a discriminator is convinced: Hung et al. 2018, equation 4.

    Args:
        logits: (b, class, *size).
        scores: of the discriminator, (b, 1, *patches); above 0 it takes a patch for real.

    Returns:
        A scalar; 0 where nothing convinces.
    """
    trusted = (resize(scores, logits.shape[2:])[:, 0] > 0).float()
    each = functional.cross_entropy(logits, logits.detach().argmax(1), reduction="none")
    return (each * trusted).sum() / trusted.sum().clamp(min=1)

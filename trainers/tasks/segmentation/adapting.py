"""Fine-tuning on a clinic's corrections and, beside them, on its studies without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainers.checksums import checksum
from trainers.data.cases import Case
from trainers.losses.adversarial import hinge_generator
from trainers.spec import ModelSpec
from trainers.task import Batch, Phase
from trainers.tasks.segmentation.correcting import CorrectingConfig, CorrectingTask
from trainers.tasks.segmentation.hard import harden
from trainers.tasks.segmentation.samples import as_tensors, load_unlabelled
from trainers.tasks.segmentation.task import SegmentationConfig


@dataclass(frozen=True)
class UnlabelledConfig:
    """What is made of studies without labels.

    Attributes:
        every: steps between looks at them. sure: probability from which the network's own label is learned.
        strength: most that the image is spoiled on which it has to give that label again.
        consistency: weight of that. realism: weight of label maps that the discriminator takes for a clinician's.
    """

    every: int = 4
    sure: float = 0.9
    strength: float = 0.5
    consistency: float = 0.3
    realism: float = 0.01


class AdaptingTask(CorrectingTask):
    """Learns labels, keeps what it knows of corrections, and learns from studies without labels.

    On those it gives a spoiled image the label that it is sure of on the image itself (FixMatch, Sohn et al. 2020,
    equation 4), and draws label maps that a discriminator, which stays as it is, takes for real (Hung et al. 2018,
    equation 3).

    Args:
        critic: the model's discriminator, `trainers.networks.judge.MaskJudge`; None leaves realism out.
        unlabelled: image files.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        train: Sequence[Case],
        validation: Sequence[Case] = (),
        replay: Sequence[Case] = (),
        unlabelled: Sequence[Path] = (),
        critic: nn.Module | None = None,
        config: SegmentationConfig = SegmentationConfig(),
        correcting: CorrectingConfig = CorrectingConfig(),
        learning: UnlabelledConfig = UnlabelledConfig(),
        regulariser: Callable[[nn.Module], torch.Tensor] | None = None,
    ) -> None:
        super().__init__(spec, network, train, validation, config, correcting, replay, regulariser)
        self.learning = learning
        self.unlabelled = [load_unlabelled(path, spec) for path in unlabelled]
        self._names = [path.name for path in unlabelled]
        self._critic = critic.eval().requires_grad_(False) if critic is not None else None

    def phases(self) -> list[Phase]:
        """What is learned from studies without labels first, now and then."""
        labelled = super().phases()
        if not self.unlabelled:
            return labelled
        rest = Phase("unlabelled", ("generator",), self._unlabelled_losses, every=self.learning.every)
        return [rest, *labelled]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """As without; at the steps where they are looked at also `unlabelled` images (b, 1, x, y, z)."""
        batch = super().batch(step, size, rank)
        if not self.unlabelled or (step + 1) % self.learning.every:
            return batch
        random = np.random.default_rng([self.config.seed, step, rank, 1])
        self._augment.set_random_state(seed=int(random.integers(2**31)))
        chosen = [self.unlabelled[int(i)] for i in random.integers(len(self.unlabelled), size=size)]
        images = [self._augment(as_tensors(sample))["image"].as_tensor() for sample in chosen]
        return {**batch, "unlabelled": torch.stack(images).float()}

    def identity(self) -> dict[str, Any]:
        """As without, and the studies without labels."""
        images = checksum(sample.image for sample in self.unlabelled)
        return {
            **super().identity(),
            "unlabelled": self._names,
            "unlabelled_images": images,
            "learning": asdict(self.learning),
        }

    def _unlabelled_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        images, network = batch["unlabelled"], self.networks["generator"]
        with torch.no_grad():
            own = torch.softmax(network(self._inputs(images)).float(), 1)
        hard = harden(images, self.learning.strength * torch.rand(len(images)))
        logits = network(self._inputs(hard)).float()
        sure = (own.amax(1) > self.learning.sure).float()
        each = cross_entropy(logits, own.argmax(1), reduction="none")
        losses = {"consistency": self.learning.consistency * (each * sure).sum() / sure.sum().clamp(min=1)}
        if self._critic is not None:
            patches, _ = self._critic.to(images.device)(hard, torch.softmax(logits, 1))
            losses["realism"] = self.learning.realism * hinge_generator(None, patches.float())
        return losses

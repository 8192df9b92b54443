"""What a segmentation network learns: Dice and cross-entropy, optionally to fool a patch discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.utils import one_hot
from torch import nn

from trainers.augment import Augmentation, segmentation_augmentation
from trainers.checksums import checksum
from trainers.data.cases import Case, CasesError
from trainers.losses.adversarial import hinge_discriminator, hinge_generator
from trainers.networks import build
from trainers.spec import ModelSpec
from trainers.task import Batch, Phase, TrainingTask
from trainers.tasks.segmentation.evaluate import evaluate_segmenter
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.samples import Sample, as_tensors, load_samples

HEAVIEST = 10.0
DISCRIMINATOR = {"name": "PatchDiscriminator", "spatial_dims": 3, "channels": 24}


@dataclass(frozen=True)
class SegmentationConfig:
    """What to learn from.

    Attributes:
        patch: size of a training image, voxels; a multiple of 8.
        adversarial: weight of the adversarial term; 0 trains without a discriminator, the default:
            the gain with plenty of labels was not measured.
        balance: how strongly rare labels count in the loss: each by its share of all labels' voxels to the power of
            minus this; 0 counts all alike.
        replay: share of each batch that is drawn from the replay cases, if there are any.
        seed: of batches and augmentation.
    """

    patch: tuple[int, int, int] = (40, 56, 40)
    adversarial: float = 0.0
    balance: float = 0.0
    replay: float = 0.5
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


class SegmentationTask(TrainingTask):
    """A network of `spec` that learns from cases. Read by `trainers.fit.fit`."""

    key_metric = "dice_mean"

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        train: Sequence[Case],
        validation: Sequence[Case] = (),
        replay: Sequence[Case] = (),
        config: SegmentationConfig = SegmentationConfig(),
        regulariser: Callable[[nn.Module], torch.Tensor] | None = None,
    ) -> None:
        """Reads all training cases into memory.

        Args:
            spec: labels and preprocessing.
            network: what is trained.
            train: cases to learn from.
            validation: cases to measure on; none measures nothing.
            replay: cases learned before, mixed in.
            config: how.
            regulariser: an extra loss on the network.

        Raises:
            VolumeError: a case cannot be read. CasesError: nothing to learn from.
        """
        self.spec, self.config, self.seed, self.regulariser = spec, config, config.seed, regulariser
        self.train, self.validation, self.replay = list(train), list(validation), list(replay)
        self.samples, self.replayed = load_samples(train, spec), load_samples(replay, spec)
        if not self.samples:
            raise CasesError("There is nothing to learn from: no case has a labelled organ.")
        self.key_metric = "dice_mean" if self.validation else ""
        self.networks = {"generator": network}
        self.classes = len(spec.labels) + 1
        if config.adversarial:
            halvings = min(3, int(math.log2(min(config.patch))) - 2)
            self.networks["discriminator"] = build(
                {**DISCRIMINATOR, "in_channels": 1 + self.classes, "num_layers_d": halvings}
            )
        self._augment = segmentation_augmentation(config.patch, config.augmentation)
        weights = class_weights(self.samples, self.classes, config.balance) if config.balance else None
        self._supervised = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, weight=weights)

    def phases(self) -> list[Phase]:
        """Discriminator first, if there is one, then the segmentation network."""
        generator = Phase("generator", ("generator",), self._generator_losses)
        if not self.config.adversarial:
            return [generator]
        return [Phase("discriminator", ("discriminator",), self._discriminator_losses, 0.5), generator]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """Augmented images (b, 1, x, y, z) and class indices of the same shape."""
        random = np.random.default_rng([self.config.seed, step, rank])
        self._augment.set_random_state(seed=int(random.integers(2**31)))
        items = [self._augment(as_tensors(self._pick(random))) for _ in range(size)]
        return {key: torch.stack([i[key].as_tensor() for i in items]).float() for key in ("image", "label")}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Mean Dice over labels and validation cases, of the averaged network, without test-time augmentation."""
        report = evaluate_segmenter(
            Segmenter.from_network(self.spec, networks["generator"]), self.validation, test_time_augmentation=False
        )
        return {"dice_mean": report.dice_mean}

    def identity(self) -> dict[str, Any]:
        """The model without its figures, the patients by use, their images and labels, and the settings."""
        described = {k: v for k, v in asdict(self.spec).items() if k in ("name", "network", "preprocess", "labels")}
        cases = {part: [c.id for c in getattr(self, part)] for part in ("train", "validation", "replay")}
        learned = [array for s in (*self.samples, *self.replayed) for array in (s.image, s.label)]
        return {**described, "cases": cases, "images": checksum(learned), "config": asdict(self.config)}

    def _pick(self, random: np.random.Generator) -> Any:
        pool = self.replayed if self.replayed and random.random() < self.config.replay else self.samples
        return pool[int(random.integers(len(pool)))]

    def _inputs(self, images: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """What the network takes: images and, if it can be corrected, the marks of corrections, which may be none."""
        if not self.spec.clicks:
            return images
        none = images.new_zeros(len(images), self.classes, *images.shape[2:]) if guide is None else guide
        return torch.cat([images, none], 1)

    def _generator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        self._supervised.to(batch["image"].device)
        logits = self.networks["generator"](self._inputs(batch["image"], batch.get("guide"))).float()
        losses = self._supervise(logits, batch)
        if self.config.adversarial:
            fake = self._judge(batch["image"], torch.softmax(logits, 1))
            losses["adversarial"] = self.config.adversarial * hinge_generator(None, fake)
        if self.regulariser is not None:
            losses["regulariser"] = self.regulariser(self.networks["generator"])
        return losses

    def _supervise(self, logits: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """What the label says of the logits (b, class, x, y, z)."""
        return {"dice_ce": self._supervised(logits, batch["label"])}

    def _discriminator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            made = torch.softmax(self.networks["generator"](self._inputs(batch["image"])).float(), 1)
        truth = one_hot(batch["label"], self.classes)
        real, fake = (self._judge(batch["image"], mask) for mask in (truth, made))
        return {"hinge": hinge_discriminator(real, fake)}

    def _judge(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The discriminator's opinion of an image with its mask, per patch."""
        return self.networks["discriminator"](torch.cat([image, mask], 1))[-1].float()


def class_weights(samples: Sequence[Sample], classes: int, power: float) -> torch.Tensor:
    """The weight of each class (classes,): a label's share of all labels' voxels to the power of minus `power`, mean 1.

    None is more than `HEAVIEST` times another: a label of few voxels would drown all others. The background counts 1:
    counting it less makes every label too large.
    """
    counts = np.sum([np.bincount(s.label.ravel(), minlength=classes) for s in samples], axis=0)[1:]
    weights = np.maximum(counts / max(1, counts.sum()), 1e-6) ** -power
    weights = np.minimum(weights, HEAVIEST * weights.min())
    return torch.from_numpy(np.append(1.0, weights / weights.mean()).astype(np.float32))

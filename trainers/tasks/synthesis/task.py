"""What a GAN learns: a preset's loss, penalty and conditioning, on images in memory, judged by falling KID."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from monai.networks.utils import one_hot
from torch import nn

from trainers.augment import small_moves
from trainers.checksums import checksum
from trainers.diffaugment import AdaptiveAugment, DiffAugmentSettings
from trainers.losses.adversarial import ADVERSARIAL
from trainers.losses.classes import auxiliary_classifier, class_loss
from trainers.losses.penalties import clip_weights, full_precision, gradient_penalty, r1_penalty, r2_penalty
from trainers.metrics.distribution import kid
from trainers.metrics.encoder import extract_features
from trainers.networks import build
from trainers.networks.generator import Generator
from trainers.task import Batch, Phase, TrainingTask
from trainers.tasks.synthesis.images import Images
from trainers.tasks.synthesis.presets import PRESETS, Shape, networks_of

VALIDATION_IMAGES = 500
BATCH = 64
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SETTLE_BATCHES, SETTLE_RANK = 20, 2**31  # a rank that no process has: other batches than those of the training


@dataclass(frozen=True)
class SynthesisConfig:
    """How to learn, beside the preset.

    Attributes:
        preset: name in PRESETS. steps: of the whole run, for the penalty's schedule.
        penalty: replaces the preset's weight; 0 keeps it. falling: whether it falls as the preset says.
        ada_kimg: thousands of images in which the augmentation's probability can go from 0 to 1.
        augment: whether the preset's augmentation is used.
        moves: turns, scales and shifts real images a little, with their labels; made images then vary as much.
        seed: of batches and latents.
    """

    preset: str = "default"
    steps: int = 1000
    penalty: float = 0.0
    falling: bool = True
    ada_kimg: float = 50.0
    augment: bool = True
    moves: bool = False
    seed: int = 0


class AugmentedDiscriminator(nn.Module):
    """A discriminator with the adaptive augmentation that belongs to it, so that checkpoints keep both."""

    def __init__(self, network: nn.Module, augment: AdaptiveAugment | None) -> None:
        super().__init__()
        self.network, self.augment = network, augment

    def forward(self, *inputs: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores and class logits of images that were augmented already."""
        return cast(tuple[torch.Tensor, torch.Tensor | None], self.network(*inputs))


class SynthesisTask(TrainingTask):
    """A generator and a discriminator of a preset. Read by `trainers.fit.fit`."""

    higher_is_better = False

    def __init__(
        self,
        train: Images,
        shape: Shape,
        config: SynthesisConfig = SynthesisConfig(),
        validation: Images | None = None,
        encoder: nn.Module | None = None,
    ) -> None:
        """Builds the networks.

        Args:
            train: what to learn; with labels if the shape has maps, with targets if it has categories.
            shape: of the networks.
            config: how.
            validation: images to compare with; None measures nothing.
            encoder: of the features that are compared;
                None compares the values themselves.
        """
        self.train, self.shape, self.config, self.seed = train, shape, config, config.seed
        self.preset = PRESETS[config.preset]
        self.loss = ADVERSARIAL[self.preset.loss]
        self.validation, self.encoder = validation, encoder
        self.key_metric = "kid" if validation is not None else ""
        self.described = networks_of(self.preset, shape)
        generator, discriminator = (build(network) for network in self.described)
        self._generator = cast(Generator, generator)
        self._judge = AugmentedDiscriminator(discriminator, self._augmentation())
        self.networks = {"generator": generator, "discriminator": self._judge}
        self._moves = small_moves(len(shape.size))
        self._weight = config.penalty or self.preset.weight
        self._real_features = None if validation is None else self._features(validation.array)

    def phases(self) -> list[Phase]:
        """The discriminator at every step, the generator at each `critic_steps`-th."""
        clip = self.preset.penalty == "clip"
        return [
            Phase("discriminator", ("discriminator",), self._discriminator_losses, after=self._clip if clip else None),
            Phase("generator", ("generator",), self._generator_losses, every=self.preset.critic_steps),
        ]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """Images (b, c, *size), what is known of them, `progress` from 0 to 1, and the penalty's factor."""
        random = np.random.default_rng([self.config.seed, step, rank])
        chosen = random.integers(len(self.train), size=size)
        turn = step % self.preset.penalty_every == 0
        batch = {
            "image": torch.from_numpy(self.train.array[chosen]),
            "progress": torch.tensor(step / self.config.steps),
            "penalise": torch.tensor(float(self.preset.penalty_every if turn else 0)),
        }
        if self.shape.categories and self.train.targets is not None:
            batch["targets"] = torch.from_numpy(self.train.targets[chosen])
        if self.shape.maps and self.train.labels is not None:
            batch["labels"] = torch.from_numpy(self.train.labels[chosen].astype(np.int64))[:, None]
        return self._moved(batch, random) if self.config.moves else batch

    def _moved(self, batch: Batch, random: np.random.Generator) -> Batch:
        """Half of the images, with their labels, turned, scaled and shifted a little."""
        self._moves.set_random_state(seed=int(random.integers(2**31)))
        keys = [key for key in ("image", "labels") if key in batch]
        moved = [
            self._moves({key.removesuffix("s"): batch[key][i] for key in keys}) for i in range(len(batch["image"]))
        ]
        each = {key: torch.stack([cast(Any, m[key.removesuffix("s")]).as_tensor() for m in moved]) for key in keys}
        each["image"] = each["image"].clamp(-1, 1)  # splines overshoot
        return batch | {key: value.to(batch[key].dtype) for key, value in each.items()}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """KID between the averaged generator's images and the validation images, for their classes and maps."""
        assert self.validation is not None and self._real_features is not None
        fake = self._features(self.sample(self.settled(networks["generator"]), self.validation))
        judge = cast(AugmentedDiscriminator, networks["discriminator"])
        told = {"augment": float(judge.augment.p)} if judge.augment is not None else {}
        return {"kid": kid(self._real_features, fake).mean, **told}

    @torch.no_grad()
    def settled(self, generator: nn.Module) -> nn.Module:
        """A copy whose batch normalisation has the statistics of its own weights, or the generator if it has none.

        Averaged weights with averaged statistics of other weights make other images than those that the discriminator
        saw. Measured anew over `SETTLE_BATCHES` batches (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021).
        """
        if not any(isinstance(m, BATCH_NORMS) for m in generator.modules()):
            return generator
        copied = copy.deepcopy(generator)
        for module in copied.modules():
            if isinstance(module, BATCH_NORMS):
                module.reset_running_stats()
                module.momentum = None  # the plain mean over all batches
        device, rng = next(copied.parameters()).device, torch.Generator().manual_seed(self.config.seed)
        copied.train()
        for step in range(SETTLE_BATCHES):
            batch = self.batch(step, BATCH, rank=SETTLE_RANK)
            latents = [x.to(device) for x in cast(Generator, copied).latents(BATCH, rng)]
            targets, labels = (None if b is None else b.to(device) for b in (batch.get("targets"), batch.get("labels")))
            copied(latents, self._told(targets), self._maps(labels))
        return copied.eval()

    @torch.no_grad()
    def sample(self, generator: nn.Module, like: Images) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One image for each of `like`, with its class and map; the same each time."""
        rng = torch.Generator().manual_seed(self.config.seed)
        number = max(len(like), min(VALIDATION_IMAGES, 4 * len(like))) if not self.shape.maps else len(like)
        device = next(generator.parameters()).device
        made = []
        for start in range(0, number, BATCH):
            index = np.arange(start, min(start + BATCH, number)) % len(like)
            part = like.part(index)
            latents = [x.to(device) for x in cast(Generator, generator).latents(len(index), rng)]
            targets = None if part.targets is None else torch.from_numpy(part.targets).to(device)
            labels = None if part.labels is None else torch.from_numpy(part.labels.astype(np.int64))[:, None].to(device)
            made.append(generator(latents, self._told(targets), self._maps(labels)).float().cpu())
        return torch.cat(made).numpy()

    def identity(self) -> dict[str, Any]:
        """The networks, the settings and a checksum of the images."""
        images = checksum((self.train.array, self.train.labels, self.train.targets))
        return {"networks": list(self.described), "config": asdict(self.config), "images": images}

    def _augmentation(self) -> AdaptiveAugment | None:
        if not (self.preset.augment and self.config.augment):
            return None
        settings = DiffAugmentSettings(brightness=0.2, contrast=0.2, cutout=0.3, image_channels=self.shape.channels)
        return AdaptiveAugment(settings, kimg=self.config.ada_kimg, maximum=self.preset.augment)

    def _features(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return array.reshape(len(array), -1) if self.encoder is None else extract_features(self.encoder, array)

    def _discriminator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        real, targets, maps = batch["image"], self._told(batch.get("targets")), self._maps(batch.get("labels"))
        with torch.no_grad():
            fake = self.networks["generator"](self._latents(real), targets, maps).float()
        seen = [self._augment(image, maps) for image in (real, fake)]
        if self.preset.penalty == "r1r2":
            with full_precision(real.device):
                return self._penalised(batch, seen, targets)
        scores, logits = zip(*(self._look(s, targets) for s in seen), strict=True)
        self._adapt(*scores)
        losses = {"adversarial": self.loss.discriminator(*scores), **self._class_losses(logits, targets)}
        if self.preset.penalty == "gradient":
            (real_seen, real_maps), (fake_seen, _) = seen
            losses["penalty"] = self._weight * gradient_penalty(
                lambda mixed: self._look((mixed, real_maps), targets)[0], real_seen, fake_seen
            )
        return losses

    def _penalised(
        self, batch: Batch, seen: list[tuple[torch.Tensor, torch.Tensor | None]], targets: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The loss with R1 and R2, at the images as the discriminator sees them."""
        penalised = bool(batch["penalise"])
        images = [image.detach().requires_grad_(penalised) for image, _ in seen]
        looked = [self._look((image, maps), targets) for image, (_, maps) in zip(images, seen, strict=True)]
        (real, real_logits), (fake, fake_logits) = looked
        self._adapt(real, fake)
        losses = {
            "adversarial": self.loss.discriminator(real, fake),
            **self._class_losses((real_logits, fake_logits), targets),
        }
        if penalised:
            strength = batch["penalise"] * self._penalty_weight(batch["progress"])
            losses["penalty"] = strength * (r1_penalty(real, images[0]) + r2_penalty(fake, images[1]))
        return losses

    def _generator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        targets, maps = self._told(batch.get("targets")), self._maps(batch.get("labels"))
        fake = self.networks["generator"](self._latents(batch["image"]), targets, maps).float()
        scores, logits = self._look(self._augment(fake, maps), targets)
        real = None
        if self.loss.needs_real:
            with torch.no_grad():
                real, _ = self._look(self._augment(batch["image"], maps), targets)
        losses = {"adversarial": self.loss.generator(real, scores)}
        if logits is not None and targets is not None:
            losses["class"] = class_loss(logits, targets[:, 0])
        return losses

    def _class_losses(
        self, logits: tuple[torch.Tensor | None, ...], targets: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        real, fake = logits
        if real is None or fake is None or targets is None:
            return {}
        return {"class": auxiliary_classifier(real, targets[:, 0], fake, targets[:, 0])}

    def _look(
        self, seen: tuple[torch.Tensor, torch.Tensor | None], targets: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        image, maps = seen
        scores, logits = self.networks["discriminator"](image, targets, maps)
        return scores, logits

    def _augment(self, image: torch.Tensor, maps: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Image and map as the discriminator sees them; both move alike."""
        if self._judge.augment is None:
            return image, maps
        joined = self._judge.augment(image if maps is None else torch.cat([image, maps], 1))
        count = image.shape[1]
        return joined[:, :count], None if maps is None else joined[:, count:]

    def _latents(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [x.to(image.device) for x in self._generator.latents(len(image))]

    def _told(self, targets: torch.Tensor | None) -> torch.Tensor | None:
        return targets if self.preset.condition else None

    def _maps(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        return one_hot(labels, self.shape.maps) if self.shape.maps and labels is not None else None

    def _adapt(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        """Lets the augmentation hear how sure the discriminator is."""
        if self._judge.augment is not None:
            self._judge.augment.update(real.detach(), fake.detach() if self.loss.needs_real else None)

    def _penalty_weight(self, progress: torch.Tensor) -> torch.Tensor:
        """The penalty's weight, which falls along a cosine over the first half of the run and then stays."""
        last = self.preset.final_weight
        if last is None or not self.config.falling:
            return torch.full_like(progress, self._weight)
        fallen = self._weight * last / self.preset.weight
        share = 0.5 * (1 + torch.cos(math.pi * (2 * progress).clamp(max=1)))
        return fallen + (self._weight - fallen) * share

    def _clip(self) -> None:
        clip_weights(self._judge.network, self._weight)

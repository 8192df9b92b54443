"""What an anomaly model is before it is trained: its description, and how it and what it is compared with learn."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trainers.metrics.encoder import EncoderConfig
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.anomaly.methods.fanogan import MappingConfig
from trainers.tasks.anomaly.restoring import RestoringConfig
from trainers.tasks.synthesis.images import SynthesisPreprocess
from trainers.tasks.synthesis.presets import PRESETS, Shape, networks_of

GAN_PRESET = "wgan-gp"


@dataclass(frozen=True)
class ReferenceConfig:
    """How f-AnoGAN learns, long enough to take about the time of the default method.

    Attributes:
        generator, discriminator: widths of the levels. latent: numbers an image is made from.
        fit: the loop of the GAN. mapping: the encoder. mapping_fit: its loop.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    fit: FitConfig
    mapping_fit: FitConfig
    latent: int = 64
    mapping: MappingConfig = field(default_factory=MappingConfig)

    def shape(self, size: tuple[int, ...], channels: int) -> Shape:
        """Of the GAN's networks."""
        return Shape(size, channels, self.generator, self.discriminator, latent=self.latent)

    def described(self, size: tuple[int, ...], channels: int) -> dict[str, Any]:
        """Arguments of `FAnoGAN`."""
        generator, discriminator = networks_of(PRESETS[GAN_PRESET], self.shape(size, channels))
        encoder = {
            "spatial_dims": len(size), "size": list(size), "channels": list(self.mapping.channels),
            "in_channels": channels, "latent": self.latent,
        }  # fmt: skip
        return {"generator": generator, "discriminator": discriminator, "encoder": encoder}


@dataclass(frozen=True)
class AnomalyRecipe:
    """A model before it is trained.

    Attributes:
        spec: the model without networks, figures and calibration. preprocess: how images are prepared.
        restoring: weights of the default method's losses. fit: its loop.
        grid: cells of the look of the whole, along each axis. sigmas: of its bands, voxels.
        residual: weight of the difference to the restored image in the heat.
        reference: how f-AnoGAN learns; None leaves it out. encoder: of the nearest features. bank: how many of them.
        normal: class of the healthy images; empty looks for a usual name.
        validation, test: number of healthy patients, or share if below 1: those that calibrate, and those that measure.
    """

    spec: ModelSpec
    preprocess: SynthesisPreprocess
    restoring: RestoringConfig
    fit: FitConfig
    grid: tuple[int, ...]
    sigmas: tuple[float, ...] = (0.7, 1.4, 2.8)
    residual: float = 0.5
    reference: ReferenceConfig | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    bank: int = 512
    normal: str = ""
    validation: int | float = 0.2
    test: int | float = 0.15

    def seeded(self, seed: int) -> AnomalyRecipe:
        """The recipe with another seed of all weights and batches; f-AnoGAN's GAN has that of the default method."""
        known = self.reference
        return replace(
            self,
            restoring=replace(self.restoring, seed=seed),
            encoder=replace(self.encoder, seed=seed),
            reference=known and replace(known, mapping=replace(known.mapping, seed=seed)),
        )

    def settings(self) -> dict[str, Any]:
        """What the card tells of the training."""
        told = {"normal": self.normal, "task": asdict(self.restoring), "fit": asdict(self.fit)}
        return told | ({"reference": asdict(self.reference)} if self.reference else {})

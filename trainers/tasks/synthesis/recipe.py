"""What a synthesis model is before it is trained: its description and how it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trainers.data.cases import CasesError
from trainers.data.sets import DataSet
from trainers.metrics.encoder import EncoderConfig
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.synthesis.images import SynthesisPreprocess
from trainers.tasks.synthesis.presets import PRESETS, Shape
from trainers.tasks.synthesis.task import SynthesisConfig

RANGES = {"0-255": (0.0, 255.0), "HU": (-1000.0, 1000.0), "SUV": (0.0, 20.0)}
ARBITRARY = (0.0, 1000.0)  # of made images whose originals have no units
CLIP = (0.5, 99.5)


@dataclass(frozen=True)
class MaskConfig:
    """How label maps are learned: widths of the networks at half the resolution, the penalty's weight, the loop."""

    generator: tuple[int, ...] = (48, 24, 8)
    discriminator: tuple[int, ...] = (8, 24, 48)
    latent: int = 32
    penalty: float = 5.0
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(1500, 8, 3e-4, weight_decay=0.0, precision="fp32", ema=0.995)
    )


@dataclass(frozen=True)
class SynthesisRecipe:
    """A model before it is trained.

    Attributes:
        spec: the model without networks and metrics. preprocess: how images are prepared.
        generator, discriminator: widths of the levels. latent: numbers an image is made from.
        config: the task's settings. fit: the loop's.
        masks: how label maps are learned; None makes images without.
        validation, test: number of patients, or share if below 1. own_parts: keeps the set's own split.
    """

    spec: ModelSpec
    preprocess: SynthesisPreprocess
    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    config: SynthesisConfig
    fit: FitConfig
    latent: int = 64
    stem: int = 2
    patches: bool = False
    masks: MaskConfig | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    validation: int | float = 0.1
    test: int | float = 0.1
    own_parts: bool = False

    def shape(self, channels: int, categories: Sequence[int]) -> Shape:
        """The networks' outlines for images of `channels` channels."""
        maps = len(self.spec.labels) + 1 if self.masks else 0
        return Shape(
            self.preprocess.window, channels, self.generator, self.discriminator, tuple(categories), maps, self.latent,
            self.stem, noise=bool(maps), patches=self.patches,
        )  # fmt: skip


def recipe_for(
    data: DataSet, preset: str = "default", window: Sequence[int] = (), spacing: float = 1.0, masks: bool = False
) -> SynthesisRecipe:
    """A recipe for a data set that has none of its own.

    Args:
        data: the set.
        preset: a kind of GAN.
        window: size of the images, voxels; by default that of pictures up to 128,
            and 32 voxels along each axis of volumes.
        spacing: mm, of volumes.
        masks: fill label maps.

    Raises:
        CasesError: an unknown preset, a window of other dimensions, or masks without labels.
    """
    if preset not in PRESETS:
        raise CasesError(f"There is no preset {preset!r}. Known: {', '.join(PRESETS)}.")
    labels = _labels(data) if masks else dict(data.labels)
    if masks and not labels:
        raise CasesError(f"{data.name} has no label maps to fill; leave --masks out.")
    size = tuple(window) or _usual_window(data)
    if len(size) != data.dimensions:
        raise CasesError(f"{data.name} is {data.dimensions}D; give {data.dimensions} numbers with --window.")
    volumes, units = data.dimensions == 3, RANGES.get(data.units)
    several = volumes and len(data.channels) > 1
    spec = ModelSpec(
        name=f"{data.name}_synthesis", task="synthesis", title=f"{data.name} synthesis",
        description=f"Makes images like those of {data.name}.", network={}, preprocess={}, labels=labels,
        classes=list(data.classes), modalities=list(data.channels) if several else [], dimensions=data.dimensions,
        data=data.name, modality=data.channels[0] if not several else "",
    )  # fmt: skip
    preprocess = SynthesisPreprocess(
        size, (spacing,) * 3 if volumes else (), () if units else CLIP, units or ARBITRARY, mirror=volumes
    )  # fmt: skip
    return with_preset(
        SynthesisRecipe(
            spec, preprocess, (64, 32, 8) if volumes else (96, 48, 16), (16, 32, 64) if volumes else (32, 64, 96),
            SynthesisConfig(preset), FitConfig(3000, 4 if volumes else 32, weight_decay=0.0, precision="fp32",
            ema=0.998), masks=MaskConfig() if masks else None,
        ),
        preset,
    )  # fmt: skip


def with_preset(recipe: SynthesisRecipe, preset: str, **fit: Any) -> SynthesisRecipe:
    """A recipe with a preset's optimiser, and the loop's settings in `fit` over it."""
    row = PRESETS[preset]
    loop = replace(recipe.fit, **{"learning_rate": row.learning_rate, "betas": row.betas, "warmup": 0.02, **fit})
    return replace(recipe, fit=loop, config=replace(recipe.config, preset=preset, steps=loop.steps))


def _usual_window(data: DataSet) -> tuple[int, ...]:
    if data.dimensions == 3:
        return (32, 32, 32)
    largest = data.entries[0].read().image.shape[1:]
    return tuple(min(128, n) for n in largest)


def _labels(data: DataSet) -> dict[str, int]:
    """Label name to value; of a set that names none, the values in its label maps."""
    if data.labels:
        return dict(data.labels)
    maps = (entry.read().label for entry in data.entries)
    values = sorted({int(value) for label in maps if label is not None for value in np.unique(label)} - {0})
    if values and not 0 < values[0] <= values[-1] < 256:
        raise CasesError(
            f"{data.name} has label values from {values[0]} to {values[-1]}; they must be within 1 to 255."
        )
    return {f"label {value}": value for value in values}

"""GANs by name: one row each says which networks, loss, penalty and conditioning make it. Everything else is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Network = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """A kind of GAN.

    Attributes:
        source: the paper. generator, discriminator: names in `trainers.networks`.
        loss: name in `trainers.losses.adversarial.ADVERSARIAL`.
        condition: how the discriminator judges a category (`concatenate`, `projection`, `auxiliary`); empty makes a GAN
            that is told none.
        penalty: `clip` (weights within +- weight), `gradient` (WGAN-GP) or `r1r2`; weight: its strength.
        final_weight: what the penalty falls to, along a cosine; None keeps it. penalty_every: steps between
            penalties, each that many times stronger: "lazy" (Karras et al. 2020, StyleGAN2, section 3.1).
        critic_steps: updates of the discriminator for each of the generator.
        learning_rate, betas: of Adam. augment: largest probability of the adaptive augmentation; 0 is without.
        discriminator_options: arguments of the discriminator that are this preset's own.
    """

    source: str
    generator: str
    discriminator: str
    loss: str
    condition: str = ""
    penalty: str = ""
    weight: float = 0.0
    final_weight: float | None = None
    penalty_every: int = 1
    critic_steps: int = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    augment: float = 0.0
    discriminator_options: tuple[tuple[str, Any], ...] = ()


_WITHOUT_NORM = (("norm", "none"),)

PRESETS: dict[str, Preset] = {
    "gan": Preset(
        "Goodfellow et al. 2014", "PerceptronGenerator", "PerceptronDiscriminator", "non_saturating",
        learning_rate=5e-4,
    ),
    "dcgan": Preset(
        "Radford et al. 2016", "DCGANGenerator", "DCGANDiscriminator", "non_saturating"
    ),
    "wgan": Preset(
        "Arjovsky et al. 2017", "DCGANGenerator", "DCGANDiscriminator", "wasserstein",
        penalty="clip", weight=0.02, critic_steps=5, learning_rate=1e-3, betas=(0.0, 0.9),
        discriminator_options=_WITHOUT_NORM,
    ),
    "wgan-gp": Preset(
        "Gulrajani et al. 2017", "DCGANGenerator", "DCGANDiscriminator", "wasserstein",
        penalty="gradient", weight=10.0, critic_steps=5, learning_rate=1e-3, betas=(0.0, 0.9),
        discriminator_options=(("norm", "layer"),),
    ),
    "cgan": Preset(
        "Mirza and Osindero 2014", "DCGANGenerator", "DCGANDiscriminator", "non_saturating", condition="concatenate"
    ),
    "acgan": Preset(
        "Odena et al. 2017", "DCGANGenerator", "DCGANDiscriminator", "non_saturating", condition="auxiliary"
    ),
    "default": Preset(
        "Huang et al. 2024 (R3GAN), Karras et al. 2020 (ADA)", "ResidualGenerator", "ResidualDiscriminator",
        "relativistic", condition="projection", penalty="r1r2", weight=1.0, final_weight=0.1, penalty_every=4,
        betas=(0.0, 0.99), augment=0.6,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What the networks of a GAN are for.

    Attributes:
        size: of the images. channels: of the image. generator, discriminator: widths of their levels, coarse to fine
            and fine to coarse. categories: values of each. maps: channels of the condition map.
        latent: numbers an image is made from. stem: stride of the first convolution of the discriminator.
        output: `tanh` or `softmax`. noise, patches: see the residual networks.
    """

    size: tuple[int, ...]
    channels: int = 1
    generator: tuple[int, ...] = (128, 96, 64)
    discriminator: tuple[int, ...] = (64, 96, 128)
    categories: tuple[int, ...] = ()
    maps: int = 0
    latent: int = 64
    stem: int = 1
    output: str = "tanh"
    noise: bool = False
    patches: bool = False


def networks_of(preset: Preset, shape: Shape) -> tuple[Network, Network]:
    """Descriptions of generator and discriminator, for `trainers.networks.build`.

    Raises:
        ValueError: maps, for a kind of generator that takes none.
    """
    residual = preset.generator == "ResidualGenerator"
    if shape.maps and not residual:
        raise ValueError("Only the default preset fills label maps; choose it, or train without --masks.")
    categories = list(shape.categories) if preset.condition else []
    common = {"spatial_dims": len(shape.size), "size": list(shape.size), "categories": categories}
    generator = {
        "name": preset.generator, **common, "channels": list(shape.generator), "out_channels": shape.channels,
        "latent": shape.latent, "output": shape.output,
    }  # fmt: skip
    discriminator = {
        "name": preset.discriminator, **common, "channels": list(shape.discriminator),
        "in_channels": shape.channels + shape.maps, "condition": preset.condition or "projection",
        **dict(preset.discriminator_options),
    }  # fmt: skip
    if residual:
        generator |= {"maps": shape.maps, "noise": shape.noise, "style": bool(shape.maps)}
        discriminator |= {"stem": shape.stem, "patches": shape.patches}
    return generator, discriminator


def names(values: Sequence[str] = tuple(PRESETS)) -> str:
    """The presets, for messages."""
    return ", ".join(values)

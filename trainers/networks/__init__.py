"""Networks by name, so that a spec can rebuild them: MONAI's, and our own generators and discriminators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.networks.nets import DynUNet, PatchDiscriminator, UNet
from torch import nn

from trainers.networks.blocks import channels_last
from trainers.networks.discriminator import DCGANDiscriminator, ResidualDiscriminator
from trainers.networks.encoder import FeatureEncoder
from trainers.networks.fusion import SymmetricFusion
from trainers.networks.generator import DCGANGenerator, ResidualGenerator
from trainers.networks.judge import MaskJudge
from trainers.networks.perceptron import PerceptronDiscriminator, PerceptronGenerator
from trainers.networks.reconstruction import Denoiser, SuperResolver, Translator, UnrolledReconstructor
from trainers.networks.unet import ResidualUNet
from trainers.spec import load_weights


def _dyn_unet(**arguments: Any) -> nn.Module:
    """MONAI's, its weights laid out so that a step on a CPU without bfloat16 takes two thirds of the time."""
    network = DynUNet(**arguments)
    channels_last(network, int(arguments["spatial_dims"]))
    return network


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "DynUNet": _dyn_unet,
    "UNet": UNet,
    "PatchDiscriminator": PatchDiscriminator,
    "PerceptronGenerator": PerceptronGenerator,
    "PerceptronDiscriminator": PerceptronDiscriminator,
    "DCGANGenerator": DCGANGenerator,
    "DCGANDiscriminator": DCGANDiscriminator,
    "ResidualGenerator": ResidualGenerator,
    "ResidualDiscriminator": ResidualDiscriminator,
    "FeatureEncoder": FeatureEncoder,
    "SuperResolver": SuperResolver,
    "UnrolledReconstructor": UnrolledReconstructor,
    "Denoiser": Denoiser,
    "SymmetricFusion": SymmetricFusion,
    "Translator": Translator,
    "ResidualUNet": ResidualUNet,
    "MaskJudge": MaskJudge,
}


def build(network: Mapping[str, Any]) -> nn.Module:
    """Builds a network from a spec's `{"name": …, **arguments}`. Raises ValueError for an unknown name."""
    arguments = dict(network)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}. Known: {', '.join(NETWORKS)}.")
    return NETWORKS[name](**arguments)


def load(network: Mapping[str, Any], weights: Path) -> nn.Module:
    """Builds a network and loads its weights. Raises ModelNotAvailable if they are missing or of another network."""
    built = build(network)
    load_weights(built, weights)
    return built

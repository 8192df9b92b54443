"""Networks by name, so that a spec can rebuild them. All are MONAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monai.networks.nets import DynUNet, PatchDiscriminator, UNet
from torch import nn

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "DynUNet": DynUNet,
    "UNet": UNet,
    "PatchDiscriminator": PatchDiscriminator,
}


def build(network: Mapping[str, Any]) -> nn.Module:
    """Builds a network from a spec's `{"name": …, **arguments}`. Raises ValueError for an unknown name."""
    arguments = dict(network)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}. Known: {', '.join(NETWORKS)}.")
    return NETWORKS[name](**arguments)

"""Ways to find anomalies, by name. Each is a module that turns images into a `Reading`, and knows only healthy ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trainers.spec import load_weights
from trainers.tasks.anomaly.methods.fanogan import FAnoGAN
from trainers.tasks.anomaly.methods.intensity import GreyRarity
from trainers.tasks.anomaly.methods.nearest import NearestFeatures
from trainers.tasks.anomaly.methods.restoration import Restoration

MEDGAN, FANOGAN, NEAREST, INTENSITY = "medgan", "f-anogan", "nearest-features", "intensity"
METHODS: Mapping[str, type[nn.Module]] = {
    MEDGAN: Restoration, FANOGAN: FAnoGAN, NEAREST: NearestFeatures, INTENSITY: GreyRarity,
}  # fmt: skip


def open_method(name: str, described: Mapping[str, Any], weights: Path) -> nn.Module:
    """A method with its weights. Raises ModelNotAvailable if they are missing or of another network."""
    method = METHODS[name](**described)
    load_weights(method, weights)
    return method.eval()

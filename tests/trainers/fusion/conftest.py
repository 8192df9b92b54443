"""A small fusion model and patients whose volumes have shapes of their own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainers.data.files import volume
from trainers.networks.fusion import SymmetricFusion
from trainers.spec import ModelSpec
from trainers.tasks.fusion.infer import Fuser
from trainers.tasks.fusion.windows import Windows

NETWORK = {"name": "SymmetricFusion", "channels": 4, "wide": [4, 4]}
FINE, COARSE = np.diag([1.0, 1.0, 3.0, 1.0]), np.diag([4.0, 4.0, 3.0, 1.0])


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec(
        name="fusing", task="reconstruction", title="Fusing", description="Fuses.", network=NETWORK,
        preprocess={"measurement": "fusion", **{k: list(v) if isinstance(v, tuple) else v
                                                for k, v in asdict(Windows()).items()}},
        inputs=[{"name": "image", "modality": "CT"}, {"name": "second", "modality": "PET"}],
        data="made here", licence="Apache-2.0", limits="Only bars.",
    )  # fmt: skip


def network(spread: float = 0.0) -> SymmetricFusion:
    """A network that takes the brighter of both or, with a spread, one with weights at random."""
    torch.manual_seed(0)
    made = SymmetricFusion(4, [4, 4])
    for head in (made.choose, made.adjust, made.doubt):
        torch.nn.init.normal_(head[-1].weight, 0, spread) if spread else None
    return made.eval()


@pytest.fixture
def fuser(spec: ModelSpec) -> Fuser:
    """Safe weights at random; the adversarial ones take the brighter of both."""
    return Fuser.from_networks(spec, network(0.3), network())


def patient(folder: Path, number: int) -> None:
    """CT and MR of 24 x 20 x 6 with bars at different places, PET on a coarser grid of its own."""
    random = np.random.default_rng(number)
    x, y = np.ogrid[:24, :20]
    bar, other = (x // 4 + number) % 2, (y // 5 + number) % 2
    ct = np.broadcast_to((-100 + 200 * bar + 0 * y)[..., None], (24, 20, 6)) + random.normal(0, 5, (24, 20, 6))
    mr = np.broadcast_to((100 + 800 * other + 0 * x)[..., None], (24, 20, 6)) + random.normal(0, 20, (24, 20, 6))
    volume(folder / "CT.nii.gz", ct.astype(np.int16), FINE)
    volume(folder / "MR_T1.nii.gz", mr.astype(np.int16), FINE)
    volume(folder / "PET_SUV.nii.gz", random.uniform(0, 8, (6, 5, 6)).astype(np.float32), COARSE)


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients."""
    folder = tmp_path_factory.mktemp("fusion") / "clinic"
    for number in range(6):
        patient(folder / f"P{number}", number)
    return folder

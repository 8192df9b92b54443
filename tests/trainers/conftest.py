"""Small volumes and models for the tests of the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.data.cases import Case
from trainers.data.volumes import Volume, write_volume
from trainers.networks import build
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """A test does not depend on those that ran before it in the same process."""
    torch.manual_seed(0)


@pytest.fixture
def tiny_spec() -> ModelSpec:
    """A network that learns a bright ball within seconds."""
    return ModelSpec(
        name="ball", task="segmentation", title="Ball", description="Finds a ball.",
        network={
            "name": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 16],
            "strides": [2, 2], "norm": "INSTANCE",
        },
        preprocess={"spacing": [1.0, 1.0, 1.0], "window": [16, 16, 16], "clip": [0.5, 99.5]},
        labels={"low": 3, "high": 7}, organs=2, data="made here", licence="Apache-2.0",
        training={"task": {"patch": [16, 16, 16]}},
    )  # fmt: skip


def ball(
    shape: tuple[int, int, int], center: tuple[float, float, float], radius: float = 4.5
) -> tuple[np.ndarray, np.ndarray]:
    """An image with a bright ball on a noisy ground, and its label: value 3 below the middle plane, 7 above."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    distance = np.linalg.norm(grid - np.reshape(center, (3, 1, 1, 1)), axis=0)
    random = np.random.default_rng(int(sum(center) * 10))
    image = 100 * (distance < radius) + random.normal(0, 5, shape)
    label = np.where(distance < radius, np.where(grid[2] < center[2], 3, 7), 0)
    return image.astype(np.float32), label.astype(np.uint8)


@pytest.fixture
def ball_cases(tmp_path: Path) -> list[Case]:
    """Six crops with a ball, in `tmp_path/data/{images,labels}`."""
    cases = []
    random = np.random.default_rng(0)
    for number in range(6):
        image, label = ball((16, 16, 16), tuple(7.5 + random.uniform(-1.5, 1.5, 3)))
        paths = [tmp_path / "data" / part / f"p{number}.nii.gz" for part in ("images", "labels")]
        for path, array in zip(paths, (image, label), strict=True):
            write_volume(path, Volume(array, np.eye(4)))
        cases.append(Case(f"p{number}", *paths))
    return cases


@pytest.fixture
def untrained(tiny_spec: ModelSpec, tmp_path: Path) -> Path:
    """A model folder with random weights."""
    torch.manual_seed(0)
    folder = tmp_path / "models" / "ball" / "v0001"
    folder.mkdir(parents=True)
    save_weights(build(tiny_spec.network), folder / WEIGHTS_FILE, half=False)
    tiny_spec.save(folder)
    return folder

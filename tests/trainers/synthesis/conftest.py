"""Toy images that a GAN learns in seconds, and tiny models on the disk."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.data.sets import DataSet, Entry, Sample
from trainers.metrics.encoder import EncoderConfig
from trainers.networks import build
from trainers.networks.encoder import FeatureEncoder
from trainers.spec import WEIGHTS_FILE, ModelSpec, part_file, save_weights
from trainers.tasks.synthesis.images import Images
from trainers.tasks.synthesis.presets import PRESETS, Shape, networks_of

PICTURE, VOLUME = (12, 10), (10, 12, 8)
LABELS = {"front": 7, "back": 3}  # neither in order nor without gaps
TINY_ENCODER = EncoderConfig(steps=3, batch_size=8, features=6, channels=(4, 8))


def squares(number: int, seed: int = 0, size: tuple[int, int] = PICTURE) -> Images:
    """Bright squares on a dark ground, at the start of the first axis (class 0) or at its end (class 1)."""
    random = np.random.default_rng(seed)
    targets = random.integers(2, size=(number, 1))
    array = random.normal(-0.9, 0.05, (number, 1, *size)).astype(np.float32)
    for image, target in zip(array, targets[:, 0], strict=True):
        start = (1, size[0] - 6)[target] + random.integers(2)
        image[0, start : start + 4, 3:7] = random.uniform(0.6, 0.9)
    return Images([f"p{i}" for i in range(number)], array.clip(-1, 1), None, targets.astype(np.int64))


def organ(seed: int, shape: tuple[int, int, int] = (14, 16, 12)) -> Sample:
    """A volume with a bright ellipsoid whose front half has label 7, whose back half has 3."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    center, radii = (np.array(shape) - 1) / 2 + random.uniform(-1, 1, 3), random.uniform(2.5, 3.5, 3)
    inside = (((grid - center.reshape(3, 1, 1, 1)) / radii.reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    label = np.where(inside, np.where(grid[1] > center[1], 7, 3), 0).astype(np.uint8)
    image = 100 + 300 * inside + 100 * (label == 7) + random.normal(0, 8, shape)
    return Sample(image[None].astype(np.float32), label, np.eye(4))


def pictures_set(number: int, seed: int = 0) -> DataSet:
    """`squares` as a data set with values from 0 to 255."""
    made = squares(number, seed)
    entries = [
        Entry(f"p{i}", f"p{i}", lambda i=i: Sample((made.array[i] + 1) * 127.5), int(made.targets[i, 0]))  # type: ignore[index, misc]
        for i in range(number)
    ]
    return DataSet("squares", entries, classes=("left", "right"), dimensions=2, units="0-255")


def volumes_set(number: int) -> DataSet:
    """`organ`s as a data set."""
    entries = [Entry(f"v{i}", f"v{i}", lambda i=i: organ(i)) for i in range(number)]  # type: ignore[misc]
    return DataSet("organs", entries, labels=LABELS, dimensions=3)


def stir(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Moves all weights a little, so that what starts at zero takes part."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=random))
    return network


def write_model(folder: Path, spec: ModelSpec, masks: bool = False) -> Path:
    """Saves a spec with random weights for its networks."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_weights(stir(build(spec.network)), folder / WEIGHTS_FILE)
    for name, network in spec.parts.items():
        save_weights(stir(build(network)), part_file(folder, name), half=False)
    spec.save(folder)
    return folder


def picture_spec(preset: str = "default", **changes: object) -> ModelSpec:
    shape = Shape(PICTURE, generator=(8, 4), discriminator=(4, 8), categories=(2,), latent=6)
    network, _ = networks_of(PRESETS[preset], shape)
    encoder = {"name": "FeatureEncoder", "spatial_dims": 2, "in_channels": 1, "channels": [4, 8], "features": 6}
    spec = ModelSpec(
        name="squares", task="synthesis", title="Squares", description="Makes squares.", network=network,
        preprocess={"window": list(PICTURE), "range": [0.0, 255.0]}, classes=["left", "right"], dimensions=2,
        parts={"encoder": encoder}, training={"class_share": {"left": 0.25, "right": 0.75}}, data="made here",
        licence="Apache-2.0",
    )  # fmt: skip
    return spec.replace(**changes)


def volume_spec(**changes: object) -> ModelSpec:
    shape = Shape(VOLUME, generator=(8, 4), discriminator=(4, 8), maps=3, latent=6, noise=True)
    half = Shape((5, 6, 4), 3, (8, 4), (4, 8), latent=4, output="linear")
    networks = [networks_of(PRESETS["default"], s)[0] for s in (shape, half)]
    spec = ModelSpec(
        name="organs", task="synthesis", title="Organs", description="Makes organs.", network=networks[0],
        preprocess={"window": list(VOLUME), "spacing": [1.0, 1.0, 1.0], "clip": [0.5, 99.5], "range": [0.0, 1000.0]},
        labels=LABELS, parts={"masks": networks[1]}, training={"label_voxels": {"front": [20, 400], "back": [20, 400]}},
    )  # fmt: skip
    return spec.replace(**changes)


@pytest.fixture(scope="session")
def picture_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes pictures of two classes; has an encoder."""
    return write_model(tmp_path_factory.mktemp("models") / "squares", picture_spec())


@pytest.fixture(scope="session")
def volume_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fills label maps in 3D, and draws them."""
    return write_model(tmp_path_factory.mktemp("models") / "organs", volume_spec())


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards are measured on few images, and show few."""
    module = import_module("trainers.tasks.synthesis.evaluate")  # its package gives a function by this name
    monkeypatch.setattr(module, "CARD_IMAGES", 24)
    monkeypatch.setattr(module, "CARD_VOLUMES", 20)
    monkeypatch.setattr("trainers.tasks.synthesis.grid.ROWS", 1)


@pytest.fixture
def tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes an encoder that learns for three steps."""
    from trainers.metrics.encoder import train_encoder

    def quick(images: np.ndarray, classes: np.ndarray | None, config: object, monitor: object) -> FeatureEncoder:
        return train_encoder(images, classes, TINY_ENCODER, monitor)  # type: ignore[arg-type]

    monkeypatch.setattr("trainers.tasks.synthesis.train.train_encoder", quick)

"""Small healthy images, and a model of them that takes seconds."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from trainers.data.sets import DataSet, Entry, Sample
from trainers.metrics.encoder import EncoderConfig
from trainers.spec import WEIGHTS_FILE, ModelSpec, plain, save_weights
from trainers.task import FitConfig
from trainers.tasks.anomaly.data import healthy
from trainers.tasks.anomaly.methods import MEDGAN
from trainers.tasks.anomaly.methods.fanogan import MappingConfig
from trainers.tasks.anomaly.methods.restoration import Restoration
from trainers.tasks.anomaly.recipe import AnomalyRecipe, ReferenceConfig
from trainers.tasks.anomaly.restoring import RestoringConfig, unet
from trainers.tasks.anomaly.train import calibrate
from trainers.tasks.synthesis.images import SynthesisPreprocess, prepare

SIZE = (20, 16)
VOLUME = (12, 16, 12)
AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.0, 0, -20], [0, 0, 1.0, 5], [0, 0, 0, 1]])


def picture(seed: int, ill: bool = False) -> np.ndarray:
    """Soft stripes with some noise; an ill one is flat within a box."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]), indexing="ij")
    image = 120 + 60 * np.sin(x / 2 + random.uniform(0, 0.6)) + 20 * np.cos(y / 3) + random.normal(0, 6, SIZE)
    if ill:
        image[6:14, 4:12] = 230
    return image.clip(0, 255).astype(np.float32)


def volume(seed: int) -> np.ndarray:
    """A bright ball on a noisy ground."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, VOLUME), indexing="ij")).astype(float)
    distance = np.linalg.norm(grid - (np.reshape(VOLUME, (3, 1, 1, 1)) - 1) / 2, axis=0)
    return (400 * (distance < 4 + random.uniform(0, 0.8)) + 300 + random.normal(0, 20, VOLUME)).astype(np.float32)


def _read_picture(seed: int, ill: bool) -> Sample:
    return Sample(picture(seed, ill)[None])


def _read_volume(seed: int) -> Sample:
    return Sample(volume(seed)[None], None, AFFINE)


def pictures(healthy: int = 40, ill: int = 8) -> DataSet:
    """A set with the classes `normal` and `ill`."""
    entries = [Entry(f"n{i:03d}", f"n{i:03d}", partial(_read_picture, i, False), 0) for i in range(healthy)]
    entries += [Entry(f"i{i:03d}", f"i{i:03d}", partial(_read_picture, 500 + i, True), 1) for i in range(ill)]
    return DataSet("stripes", entries, classes=("normal", "ill"), dimensions=2, units="0-255")


def volumes(healthy: int = 30) -> DataSet:
    """A set of volumes that are all healthy."""
    return DataSet("balls", [Entry(f"v{i:03d}", f"v{i:03d}", partial(_read_volume, i)) for i in range(healthy)])


def recipe(dimensions: int = 2, steps: int = 6, reference: bool = True) -> AnomalyRecipe:
    """All methods, each for a few steps."""
    spec = ModelSpec(
        name="unusual", task="anomaly", title="Unusual", description="Finds what is unusual.", network={},
        preprocess={}, dimensions=dimensions, data="made here", licence="Apache-2.0",
        inputs=[{"name": "image", "modality": "MR"}],
    )  # fmt: skip
    size = SIZE if dimensions == 2 else VOLUME
    preprocess = SynthesisPreprocess(
        size, () if dimensions == 2 else (1.0,) * 3, () if dimensions == 2 else (0.5, 99.5), (0.0, 255.0),
        mirror=dimensions == 3,
    )  # fmt: skip
    fit = FitConfig(steps, 8, 3e-3, betas=(0.5, 0.99), ema=0.9, precision="fp32", gradient_clip=1.0, threads=1)
    known = ReferenceConfig((8, 4), (4, 8), fit, replace(fit, steps=3), 8, MappingConfig((4, 8)))
    return AnomalyRecipe(
        spec, preprocess, RestoringConfig(channels=(8, 16), fold=1 if dimensions == 2 else 2), fit, (2,) * dimensions,
        sigmas=(0.7, 1.4), reference=known if reference else None,
        encoder=EncoderConfig(3, 8, channels=(4, 8), features=8), bank=32,
        validation=12 if dimensions == 2 else 10, test=8,
    )  # fmt: skip


def write_folder(folder: Path, seeds: range, ill: bool = False) -> None:
    """Pictures as PNG files."""
    from PIL import Image

    folder.mkdir(parents=True)
    for seed in seeds:
        Image.fromarray(picture(seed, ill).T.astype(np.uint8)).save(folder / f"p{seed}.png")


def untrained(models: Path, dimensions: int = 3) -> Path:
    """Writes `models/unusual/v0001`: networks that have learned nothing, calibrated with 24 healthy images."""
    folder, one = models / "unusual" / "v0001", recipe(dimensions)
    entries = healthy(volumes(24) if dimensions == 3 else pictures(24, 0)).entries
    networks = {k: {a: b for a, b in v.items() if a != "name"} for k, v in unet(dimensions, 1, one.restoring).items()}
    network = {**networks, "grid": list(one.grid), "sigmas": list(one.sigmas)}
    torch.manual_seed(0)
    method = Restoration(**network).eval()
    images = prepare(entries, one.preprocess).array
    method.settle(images, images)
    spec = one.spec.replace(
        network={"name": MEDGAN, **network}, preprocess=plain(asdict(one.preprocess)), labels={"anomaly": 1},
        colors={"anomaly": [0.9, 0.3, 0.1]},
    )  # fmt: skip
    folder.mkdir(parents=True)
    spec.replace(calibration=calibrate(spec, {MEDGAN: method}, entries)).save(folder)
    save_weights(method, folder / WEIGHTS_FILE, half=False)
    return models

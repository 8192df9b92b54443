"""A CT of 512 x 512 x 200 voxels and two small models of it, for both servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.losses import DiceCELoss
from torch import nn

from trainers.data.volumes import Volume, write_volume
from trainers.networks import build
from trainers.preprocess import CanonicalGrid, normalise
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights

STUDY = "large"
SHAPE, SPACING = (512, 512, 200), (0.7, 0.7, 1.0)
COARSE = 2.0  # mm, of the label's network
STEPS, BATCH, CROP = 60, 4, 40
AIR, TISSUE, ORGAN, NOISE = -1000.0, 40.0, 140.0, 20.0  # HU
ORGANS = ((-70.0, 0.0, 0.0), (70.0, 10.0, 10.0))  # middles, mm from the middle of the body
LABEL_NETWORK = {
    "name": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [8, 16, 32],
    "strides": [2, 2],
    "norm": "BATCH",
}
IMAGE_NETWORK = {"name": "Denoiser", "spatial_dims": 2, "channels": 4, "blocks": 0}


def make_study(folder: Path) -> Path:
    """Writes the CT, int16 HU, compressed as scanners' archives do."""
    image, _ = ct(SHAPE, SPACING)
    path = folder / f"{STUDY}.nii.gz"
    write_volume(path, Volume(image, np.diag([*SPACING, 1.0])))
    return path


def ct(shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """A body with two organs, (x, y, z) HU with noise, and the organs' label."""
    axes = [
        ((np.arange(n) - (n - 1) / 2) * s).reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
        for axis, (n, s) in enumerate(zip(shape, spacing, strict=True))
    ]
    body = (axes[0] / 160) ** 2 + (axes[1] / 120) ** 2 + 0 * axes[2] < 1
    label = np.zeros(shape, bool)
    for middle in ORGANS:
        label |= sum(((axis - m) / r) ** 2 for axis, m, r in zip(axes, middle, (30, 40, 50), strict=True)) < 1
    image = np.where(label, np.float32(ORGAN), np.where(body, np.float32(TISSUE), np.float32(AIR)))
    image += np.random.default_rng(0).standard_normal(shape, np.float32) * np.float32(NOISE)
    return np.rint(image).astype(np.int16), label.astype(np.uint8)


def make_models(folder: Path) -> None:
    """Writes the models `label` and `image` as our server and the stock app take them."""
    grid = CanonicalGrid(Volume(np.broadcast_to(np.int16(0), SHAPE), np.diag([*SPACING, 1.0])), [COARSE] * 3)
    preprocess = {"spacing": [COARSE] * 3, "window": list(grid.shape)}
    common = {"version": "v0001", "inputs": [{"name": "image", "modality": "CT"}], "modality": "CT"}
    label = _spec("label", "segmentation", LABEL_NETWORK, preprocess).replace(
        **common, labels={"organ": 1}, colors={"organ": [0.9, 0.3, 0.3]}, organs=len(ORGANS)
    )
    image = _spec("image", "reconstruction", IMAGE_NETWORK, {"measurement": "low_dose"}).replace(**common)
    torch.manual_seed(0)
    _save(folder, label, _learn(build(LABEL_NETWORK), grid.shape))
    _save(folder, image, build(IMAGE_NETWORK))


def _spec(name: str, task: str, network: dict[str, Any], preprocess: dict[str, Any]) -> ModelSpec:
    return ModelSpec(name, task, name.capitalize(), f"{name} of a benchmark", network, preprocess)


def _save(folder: Path, spec: ModelSpec, network: nn.Module) -> None:
    place = folder / spec.name / spec.version
    spec.save(place)
    save_weights(network, place / WEIGHTS_FILE)


def _learn(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Teaches a network the organs, in some seconds: a label of nothing or of noise would not take the usual time."""
    image, label = ct(shape, (COARSE,) * 3)
    inputs, random = normalise(image), np.random.default_rng(0)
    loss, optimiser = DiceCELoss(to_onehot_y=True, softmax=True), torch.optim.Adam(network.parameters(), 1e-2)
    spots, half = np.argwhere(label), BATCH // 2
    for _ in range(STEPS):
        near, anywhere = spots[random.integers(len(spots), size=half)], random.integers(shape, size=(half, 3))
        crops = [_crop(spot, shape) for spot in (*near, *anywhere)]
        x, y = (torch.from_numpy(np.stack([a[crop] for crop in crops]))[:, None].float() for a in (inputs, label))
        optimiser.zero_grad()
        loss(network(x), y).backward()
        optimiser.step()
    return network.eval()


def _crop(spot: npt.NDArray[np.int_], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A crop with a voxel in its middle, or near it at the border."""
    first = [int(np.clip(s - CROP // 2, 0, n - CROP)) for s, n in zip(spot, shape, strict=True)]
    return tuple(slice(f, f + CROP) for f in first)

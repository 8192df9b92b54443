"""The features that sets of images are compared by: a small encoder, trained here on the real training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from trainers.checksums import checksum
from trainers.devices import pick_device
from trainers.fit import fit
from trainers.losses.contrastive import nt_xent
from trainers.metrics.views import DEGRADATIONS, degrade, random_intensity, random_view
from trainers.monitor import Monitor
from trainers.networks.encoder import FeatureEncoder
from trainers.task import Batch, FitConfig, Phase, TrainingTask

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EncoderConfig:
    """How the encoder learns.

    Attributes:
        steps: updates; 0 takes what a few minutes on one CPU thread allow: 1500 in 2D, 400 in 3D.
        batch_size: images a step, each seen as two views and one degraded copy; 0 takes 64 in 2D, 16 in 3D.
        features: length of the vector. channels: of the stages.
        temperature: of the contrastive loss.
        contrastive, degradation, targets: weights of the three losses.
        seed: of weights and batches.
    """

    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 2e-3
    features: int = 64
    channels: tuple[int, ...] = (16, 32, 64)
    temperature: float = 0.2
    contrastive: float = 1.0
    degradation: float = 1.0
    targets: float = 0.5
    seed: int = 0
    device: str = "auto"


class EncoderTask(TrainingTask):
    """Learns to know an image again, to tell real from degraded copies, and the class where there is one."""

    key_metric = ""

    def __init__(self, images: Array, targets: Array | None = None, config: EncoderConfig = EncoderConfig()) -> None:
        """Makes the encoder and its heads, which are dropped after training.

        Args:
            images: real training images (n, channel, *spatial) in [-1, 1].
            targets: class of each image, (n,), or None.
            config: how.

        Raises:
            ValueError: images or targets of the wrong shape or range.
        """
        self.images = torch.from_numpy(check_images(images, least=4, what="training images"))
        self.targets, classes = _check_targets(targets, len(images))
        self.config, self.seed = config, config.seed
        torch.manual_seed(config.seed)
        encoder = FeatureEncoder(images.ndim - 2, images.shape[1], config.channels, config.features)
        width = config.features
        self.networks = {
            "encoder": encoder,
            "projection": nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)),
            "degradation": nn.Linear(width, len(DEGRADATIONS)),
        }
        if classes:
            self.networks["target"] = nn.Linear(width, classes)

    def phases(self) -> list[Phase]:
        """All networks together."""
        return [Phase("encoder", tuple(self.networks), self._losses)]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """Two views and a degraded copy of `size` images, how each copy was degraded, and the classes if known."""
        numbers = np.random.SeedSequence([self.seed, step, rank]).generate_state(1, np.uint64)
        random = torch.Generator().manual_seed(int(numbers[0] >> np.uint64(1)))
        chosen = torch.randperm(len(self.images), generator=random)[: max(2, min(size, len(self.images)))]
        images = self.images[chosen]
        kinds = torch.randint(len(DEGRADATIONS), (len(images),), generator=random)
        batch = {
            "one": random_view(images, random),
            "two": random_view(images, random),
            "copy": degrade(random_intensity(images, random), kinds, random),
            "kind": kinds,
        }
        return batch if self.targets is None else {**batch, "target": self.targets[chosen]}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Nothing is measured during training."""
        return {}

    def identity(self) -> dict[str, Any]:
        """The settings and a checksum of the images."""
        return {"config": asdict(self.config), "images": checksum([self.images.numpy()])}

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        networks, config = self.networks, self.config
        features = networks["encoder"](torch.cat([batch["one"], batch["two"], batch["copy"]]))
        one, two, copy = features.chunk(3)
        left, right = networks["projection"](torch.cat([one, two])).float().chunk(2)
        losses = {
            "contrastive": config.contrastive * nt_xent(left, right, config.temperature),
            "degradation": config.degradation
            * functional.cross_entropy(networks["degradation"](copy).float(), batch["kind"]),
        }
        if "target" in batch:
            guess = networks["target"](one).float()
            losses["target"] = config.targets * functional.cross_entropy(guess, batch["target"])
        return losses


def train_encoder(
    images: Array,
    targets: Sequence[int] | Array | None = None,
    config: EncoderConfig = EncoderConfig(),
    monitor: Monitor = Monitor(),
) -> FeatureEncoder:
    """Trains a feature encoder on real training images; nothing is downloaded.

    Contrastive (Chen et al. 2020, equation 1) on views that keep the texture; beside it the encoder tells clean from
    blurred, noisy, warped and checkered copies, so that features see what generators get wrong, and the class if given.
    Features are scaled to mean 0 and deviation 1 over `images`, which makes figures of one data set comparable.

    Args:
        images: (n, channel, *spatial) in [-1, 1], n at least 4.
        targets: class of each image, (n,), 0 and up.
        config: how.
        monitor: told of progress as by `trainers.fit.fit`.

    Returns:
        The encoder, on the CPU, in evaluation mode.

    Raises:
        ValueError: images or targets of the wrong shape or range. Cancelled: from the monitor.
    """
    task = EncoderTask(np.asarray(images), None if targets is None else np.asarray(targets), config)
    networks, _ = fit(task, _fit_config(config, task.images.ndim - 2, len(task.images)), None, monitor)
    encoder = networks["encoder"].cpu().eval()
    assert isinstance(encoder, FeatureEncoder)
    encoder.standardise(task.images)
    return encoder


def describe_encoder(encoder: FeatureEncoder) -> dict[str, Any]:
    """The dictionary from which `trainers.networks.build` makes the same network, without its weights."""
    return {
        "name": "FeatureEncoder",
        "spatial_dims": encoder.spatial_dims,
        "in_channels": encoder.in_channels,
        "channels": list(encoder.channels),
        "features": encoder.project.out_features,
    }


def extract_features(
    encoder: nn.Module, images: Array, batch: int = 128, device: str = "cpu"
) -> npt.NDArray[np.float64]:
    """Features of images.

    Args:
        encoder: as `train_encoder` returns.
        images: (n, channel, *spatial) in [-1, 1].
        batch: images at a time.
        device: as for `trainers.devices.pick_device`.

    Returns:
        (n, features).

    Raises:
        ValueError: images of the wrong shape or range.
    """
    images = check_images(images)
    place = pick_device(device)
    encoder = encoder.to(place).eval()
    with torch.inference_mode():
        parts = [encoder(torch.from_numpy(images[i : i + batch]).to(place)).cpu() for i in range(0, len(images), batch)]
    return torch.cat(parts).double().numpy()


def check_images(images: Array, least: int = 1, what: str = "images") -> npt.NDArray[np.float32]:
    """The images as contiguous float32, if they are (n, channel, *spatial), finite and within [-1, 1].

    Raises:
        ValueError: if not; says what is wrong and what to do.
    """
    images = np.ascontiguousarray(images, dtype=np.float32)
    if images.ndim not in (4, 5):
        raise ValueError(f"The {what} have shape {images.shape}; give (n, channel, x, y) or (n, channel, x, y, z).")
    if len(images) < least:
        raise ValueError(f"There are {len(images)} {what}; at least {least} are needed.")
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"The {what} have values that are not finite; remove them first.")
    if low < -1.01 or high > 1.01:
        raise ValueError(f"The {what} range over [{low:g}, {high:g}]; scale them to [-1, 1] first.")
    return images


def _check_targets(targets: Array | None, n: int) -> tuple[torch.Tensor | None, int]:
    """Targets as a tensor, and the number of classes."""
    if targets is None:
        return None, 0
    targets = np.asarray(targets)
    if targets.shape != (n,) or not np.issubdtype(targets.dtype, np.integer) or (targets < 0).any():
        raise ValueError(f"targets must be {n} class numbers, 0 and up, one an image; got shape {targets.shape}.")
    return torch.from_numpy(targets.astype(np.int64)), int(targets.max()) + 1


def _fit_config(config: EncoderConfig, dims: int, n: int) -> FitConfig:
    """Settings of the loop; averaged weights reach back over about a twentieth of the run."""
    steps = config.steps or (1500 if dims == 2 else 400)
    size = config.batch_size or (64 if dims == 2 else 16)
    ema = max(0.5, 1 - 20 / max(40, steps))
    return FitConfig(
        steps, min(size, n), config.learning_rate, ema=ema, weight_decay=1e-3, precision="fp32", device=config.device
    )

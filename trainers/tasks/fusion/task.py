"""What a fusion network learns: to keep what both images show, and optionally to fool a discriminator for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainers.checksums import checksum
from trainers.losses.adversarial import hinge_discriminator, hinge_generator
from trainers.metrics.fusion import all_figures
from trainers.networks import build
from trainers.networks.blocks import resize
from trainers.networks.reconstruction import Reconstruction
from trainers.task import Batch, Phase, TrainingTask
from trainers.tasks.fusion import losses
from trainers.tasks.fusion.evaluate import FIGURES
from trainers.tasks.fusion.infer import WHITE
from trainers.tasks.fusion.windows import Floats, Window, Windows, modality_of
from trainers.tasks.reconstruction.task import doubt

DISCRIMINATOR = {
    "name": "PatchDiscriminator", "spatial_dims": 2, "channels": 16, "in_channels": 1, "num_layers_d": 2,
    "norm": "INSTANCE",
}  # fmt: skip
DISCRIMINATORS = ("first", "second")
WATCHED = 4  # slices of each patient and pair
SMALLEST = 44  # pixels of a patch: coarser by four, a window of 11 must fit in
AHEAD = 1e-4  # by less than this share, a figure is not ahead
SHIFT, WIDER, SCALE = (-0.3, 0.4), (-0.7, 1.2), (-0.5, 0.7)
"""Of windows at random: by what share of the width the lower end moves, and the logarithm of the change of the width.
The logarithm of how much larger a slice becomes."""
Study = Mapping[str, npt.NDArray[np.float32]]
"""A patient's volumes (x, y, z) on one grid by channel, in their units."""


@dataclass(frozen=True)
class FusionConfig:
    """What to learn from.

    Attributes:
        windows: through which volumes are seen.
        patch: size of a training image, pixels.
        own_windows: share of the images that are seen through these windows; the others through any, so that pictures
            of other scanners and windows are not strange.
        structure, layout, fidelity, edges, intensity, uptake, contrast, entropy, overflow: weights of the `losses` of
            that name.
        choosing: steps at first in which contrast and entropy do not count. A network that begins as the brighter
            of both gets them by brightening sooner than it learns to choose, and then does not learn it.
        deviation, variety: what `contrast` and `entropy` want, as a share of what the brighter of both has.
        adversarial: weight of fooling each discriminator; 0 learns without them.
        doubt: weight of learning how far a pixel is from both sources.
        seed: of batches.
    """

    windows: Windows = field(default_factory=Windows)
    patch: tuple[int, int] = (96, 96)
    own_windows: float = 0.5
    structure: float = 4.0
    layout: float = 1.0
    fidelity: float = 2.0
    edges: float = 5.0
    intensity: float = 0.3
    uptake: float = 2.0
    contrast: float = 2.0
    entropy: float = 0.5
    overflow: float = 4.0
    choosing: int = 1000
    deviation: float = 1.02
    variety: float = 1.03
    adversarial: float = 0.0
    doubt: float = 0.05
    seed: int = 0


class FusionTask(TrainingTask):
    """A network that fuses slices of two modalities. Read by `trainers.fit.fit`.

    The losses of `trainers.tasks.fusion.losses` first. Then, in a run of its own, the same with two discriminators: the
    first tells the fused image from the first source, the second from the second, and the network fools both: Ma et
    al., "DDcGAN: a dual-discriminator conditional generative adversarial network for multi-resolution image fusion",
    TIP 2020, section III, with the hinge loss in place of the logarithm, and patches in place of whole images. Sources
    are in the order of their channels' names, so that a discriminator sees the same kinds of image throughout; the
    network does not know their order.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Sequence[Study],
        validation: Sequence[Study] = (),
        config: FusionConfig = FusionConfig(),
    ) -> None:
        """Takes studies in memory.

        Args:
            network: takes two images, gives a `Reconstruction`.
            train: at least one, each with two channels or more, which are named for their modality.
            validation: of other patients; none measures nothing.
            config: how.

        Raises:
            ValueError: patches too small.
        """
        if min(config.patch) < SMALLEST:
            raise ValueError(
                f"Patches of {config.patch} are too small for the losses; {SMALLEST} pixels are the least."
            )
        self.config, self.seed, self.train = config, config.seed, list(train)
        self.windows = [_windows(study, config.windows) for study in self.train]
        self.watched = [pair for study in validation for pair in some_pairs(study, config.windows)]
        self.key_metric = "ahead" if self.watched else ""
        self.networks = {"generator": network}
        if config.adversarial:
            torch.manual_seed(config.seed)
            self.networks |= {name: build(DISCRIMINATOR) for name in DISCRIMINATORS}

    def phases(self) -> list[Phase]:
        """Discriminators first, if there are any, then the network."""
        generator = Phase("generator", ("generator",), self._generator_losses)
        if not self.config.adversarial:
            return [generator]
        return [Phase("discriminators", DISCRIMINATORS, self._discriminator_losses), generator]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """`image` and `second`, (b, 1, *patch) of 0 to 1, each of a patient and pair at random.

        `uptake` is the PET, if there is one; `asked` whether contrast and entropy count already.
        """
        random = np.random.default_rng([self.seed, step, rank])
        drawn = torch.stack([self._draw(random) for _ in range(size)])
        asked = torch.full((size, 1, 1, 1), float(step >= self.config.choosing))
        return {"image": drawn[:, :1], "second": drawn[:, 1:2], "uptake": drawn[:, 2:], "asked": asked}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Of how many of the six figures the network is ahead of the pixel-wise maximum, and by what share of each."""
        network, rows = networks["generator"], []
        device = next(network.parameters()).device
        for one, two in self.watched:
            pair = [torch.from_numpy(x)[None, None].to(device) for x in (one, two)]
            fused = network(*pair).image[0, 0].cpu().numpy()
            found = [all_figures(WHITE * x, WHITE * one, WHITE * two) for x in (fused, np.maximum(one, two))]
            rows.append([[figures[name] for name in FIGURES] for figures in found])
        mine, plain = np.array(rows).mean(0)
        gains = {name: float(gain) for name, gain in zip(FIGURES, mine / np.maximum(plain, 1e-6) - 1, strict=True)}
        return {"ahead": float(sum(gain > AHEAD for gain in gains.values())), **gains}

    def identity(self) -> dict[str, Any]:
        """The settings and checksums of the images."""
        return {"config": asdict(self.config), "train": _checksum(self.train), "watched": len(self.watched)}

    def _generator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = self._fuse(batch)
        one, two, weights, asked = batch["image"], batch["second"], self.config, batch["asked"].mean()
        image = found.image.clamp(0, 1)
        distance = torch.minimum((image - one).abs(), (image - two).abs())
        told = {
            "structure": weights.structure * losses.structure(image, one, two),
            "layout": weights.layout * losses.layout(image, one, two),
            "fidelity": weights.fidelity * losses.fidelity(image, one, two),
            "edges": weights.edges * losses.edges(image, one, two),
            "intensity": weights.intensity * losses.intensity(image, one, two),
            "uptake": weights.uptake * losses.uptake(image, batch["uptake"]),
            "contrast": weights.contrast * asked * losses.contrast(image, one, two, weights.deviation),
            "entropy": weights.entropy * asked * losses.entropy(image, one, two, weights.variety),
            "overflow": weights.overflow * losses.overflow(found.image),
            "doubt": weights.doubt * doubt(distance, found.log_error),
        }
        if weights.adversarial:
            for name in DISCRIMINATORS:
                told[f"adversarial_{name}"] = weights.adversarial * hinge_generator(None, self._judge(name, image))
        return told

    def _discriminator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            fused = self._fuse(batch).image.clamp(0, 1)
        sources = (batch["image"], batch["second"])
        return {
            name: hinge_discriminator(self._judge(name, source), self._judge(name, fused))
            for name, source in zip(DISCRIMINATORS, sources, strict=True)
        }

    def _fuse(self, batch: Batch) -> Reconstruction:
        found: Reconstruction = self.networks["generator"](batch["image"], batch["second"])
        return found

    def _judge(self, name: str, image: torch.Tensor) -> torch.Tensor:
        """A discriminator's scores of patches."""
        features: list[torch.Tensor] = self.networks[name](image)
        return features[-1]

    def _draw(self, random: np.random.Generator) -> torch.Tensor:
        """Two windowed patches of one place, and the one of them that is a PET or else black, (3, *patch)."""
        number = int(random.integers(len(self.train)))
        study = self.train[number]
        names = sorted(random.choice(sorted(study), 2, replace=False))
        k = int(random.integers(study[names[0]].shape[2]))
        own = random.random() < self.config.own_windows
        windows = [self.windows[number][name] if own else _other(self.windows[number][name], random) for name in names]
        slices = [window.grey(study[name][..., k]) for name, window in zip(names, windows, strict=True)]
        hot = [x for name, x in zip(names, slices, strict=True) if modality_of(name) == "PET"]
        images = torch.from_numpy(np.stack([*slices, hot[0] if hot else np.zeros_like(slices[0])]))
        return _cut(images, self.config.patch, random)


def some_pairs(study: Study, windows: Windows) -> list[tuple[Floats, Floats]]:
    """Some slices of each pair of a study's channels, (x, y) of 0 to 1."""
    grey = {name: window.grey(study[name]) for name, window in _windows(study, windows).items()}
    depth = next(iter(study.values())).shape[2]
    places = sorted({int(depth * (i + 0.5) / WATCHED) for i in range(WATCHED)})
    pairs = []
    for one, two in combinations(sorted(grey), 2):
        for k in places:
            a, b = (np.ascontiguousarray(grey[name][..., k]) for name in (one, two))
            pairs.append((a, b))
    return pairs


def _windows(study: Study, windows: Windows) -> dict[str, Window]:
    return {name: windows.of_image(array, modality_of(name)) for name, array in study.items()}


def _other(window: Window, random: np.random.Generator) -> Window:
    """A window of another middle and width."""
    width = window.high - window.low
    low = window.low + width * random.uniform(*SHIFT)
    return Window(low, low + width * float(np.exp(random.uniform(*WIDER))))


def _cut(images: torch.Tensor, patch: Sequence[int], random: np.random.Generator) -> torch.Tensor:
    """A patch (c, *patch) at random of images (c, x, y), scaled, turned and mirrored; beyond the edge it is black."""
    scale = float(np.exp(random.uniform(*SCALE)))
    images = resize(images[None], [max(1, round(n * scale)) for n in images.shape[1:]])[0]
    images = images.transpose(1, 2) if random.random() < 0.5 else images
    images = images.flip([axis for axis in (1, 2) if random.random() < 0.5])
    short = [max(0, want - have) for want, have in zip(patch, images.shape[1:], strict=True)]
    images = nn.functional.pad(
        images, (short[1] // 2, short[1] - short[1] // 2, short[0] // 2, short[0] - short[0] // 2)
    )
    x, y = (int(random.integers(have - want + 1)) for have, want in zip(images.shape[1:], patch, strict=True))
    return images[:, x : x + patch[0], y : y + patch[1]]


def _checksum(studies: Sequence[Study]) -> str:
    return checksum(array for study in studies for _, array in sorted(study.items()))

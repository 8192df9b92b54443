"""Training the discriminator that judges label maps, and calibrating what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai.networks.utils import one_hot
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from trainers.data.cases import Case
from trainers.data.volumes import Volume
from trainers.losses.adversarial import hinge_discriminator
from trainers.metrics import mean_dice
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.task import Batch, Phase
from trainers.tasks.segmentation.clicking import corrected
from trainers.tasks.segmentation.correcting import spoil_some
from trainers.tasks.segmentation.hard import harden
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.quality import DICE, ONE_VIEW, PART, Calibration, Signs
from trainers.tasks.segmentation.samples import load_case, load_samples
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask

CORRECTED = 2  # clicks after which a result is still looked at when one view is calibrated
WATCHED = 40  # label maps of validation patients that the guess is watched on


@dataclass(frozen=True)
class JudgingConfig:
    """How the discriminator is taught.

    Attributes:
        hard: share of images that are spoiled, so that the network under judgement makes mistakes.
        realism: weight of telling true label maps from predicted ones.
        seen: label maps to learn from, made once before the training.
        strengths: of the copies of each validation image that it is calibrated on, each spoiled in its own way; 0 is
            the image itself.
    """

    hard: float = 0.6
    realism: float = 0.3
    seen: int = 800
    strengths: tuple[float, ...] = (0.0, 0.3, 0.3, 0.6, 0.6, 0.8, 1.0)


class JudgingTask(SegmentationTask):
    """A discriminator that sees label maps by several networks, of which it has to tell how good they are.

    Args:
        spec: the model's, with the discriminator among its parts.
        judge: the discriminator.
        judged: networks that take what the model's takes; they stay as they are.
        train, validation: patients. Best those that at least one of `judged` was not trained on.
    """

    def __init__(
        self,
        spec: ModelSpec,
        judge: nn.Module,
        judged: Sequence[nn.Module],
        train: Sequence[Case],
        validation: Sequence[Case] = (),
        config: SegmentationConfig = SegmentationConfig(),
        judging: JudgingConfig = JudgingConfig(),
    ) -> None:
        super().__init__(spec, judge, train, validation, config=config)
        self.networks = {PART: judge}
        self.judging = judging
        self.key_metric, self.higher_is_better = ("dice_error" if self.validation else ""), False
        self._judged = [network.eval().requires_grad_(False) for network in judged]
        self._held = load_samples(validation, spec)

    def phases(self) -> list[Phase]:
        """The discriminator's alone."""
        return [Phase(PART, (PART,), self._losses)]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        """Label maps that were made before, some mirrored left to right: `image`, `maps`, `truth` and `dice`."""
        random = np.random.default_rng([self.config.seed, step, rank])
        chosen = [self._seen[int(i)] for i in random.integers(len(self._seen), size=size)]
        flipped = [_mirrored(item) if random.random() < 0.5 else item for item in chosen]
        return {key: torch.stack([item[key] for item in flipped]).float() for key in chosen[0]}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Mean absolute error of the guessed Dice on spoiled validation patients; the same ones each time."""
        judge, errors = networks[PART], []
        device = next(judge.parameters()).device
        for item in self._watched:
            guess = torch.sigmoid(judge(*(item[k][None].float().to(device) for k in ("image", "maps")))[1])[0].cpu()
            errors.append(float(torch.nanmean((guess - item["dice"]).abs())))
        return {self.key_metric: float(np.mean(errors))}

    def identity(self) -> dict[str, Any]:
        """As of segmentation, the settings of judging, and which networks are judged."""
        judged = [fingerprint(network) for network in self._judged]
        return {**super().identity(), "judging": asdict(self.judging), "judged": judged}

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        judge, images, maps = self.networks[PART], batch["image"], batch["maps"]
        real, _ = judge(images, one_hot(batch["truth"], self.classes))
        fake, _ = judge(images, one_hot(maps.argmax(1, keepdim=True), self.classes))
        _, logits = judge(images, maps)
        known = torch.isfinite(batch["dice"])
        guessed = binary_cross_entropy_with_logits(logits.float()[known], batch["dice"][known])
        return {"dice": guessed, "hinge": self.judging.realism * hinge_discriminator(real.float(), fake.float())}

    @cached_property
    def _seen(self) -> list[Batch]:
        """What is learned from; made when it is needed, for a stage that is done needs none."""
        return self._make(self.judging.seen, seed=1)

    @cached_property
    def _watched(self) -> list[Batch]:
        """Label maps of validation patients."""
        learned, self.samples = self.samples, self._held
        try:
            return self._make(WATCHED, seed=2)
        finally:
            self.samples = learned

    @torch.no_grad()
    def _make(self, count: int, seed: int) -> list[Batch]:
        """Images, some spoiled, with the label map that one of the networks gives them; the same ones each time."""
        made = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for number in range(count):
                drawn = SegmentationTask.batch(self, number, 1, seed)
                image = spoil_some(drawn["image"], self.judging.hard)
                network = self._judged[int(torch.randint(len(self._judged), ()))]
                maps = torch.softmax(network(self._inputs(image)).float(), 1)
                dice = dice_of(maps.argmax(1), drawn["label"][:, 0].long(), self.classes)[0]
                small = {"image": image[0].half(), "maps": maps[0].half(), "truth": drawn["label"][0].half()}
                made.append({**small, "dice": dice})
        return made


def _mirrored(item: Batch) -> Batch:
    """All but the Dice, left to right."""
    return {key: value if key == "dice" else value.flip(1) for key, value in item.items()}


def fingerprint(network: nn.Module) -> str:
    """A short text that depends on all of a network's weights."""
    digest = hashlib.sha256()
    for weight in network.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def dice_of(found: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """Dice (b, label) of class indices (b, x, y, z); NaN where a label is in neither."""
    scores = []
    for index in range(1, classes):
        a, b = (found == index).flatten(1).sum(1), (truth == index).flatten(1).sum(1)
        both = ((found == index) & (truth == index)).flatten(1).sum(1)
        scores.append(2 * both / (a + b))
    return torch.stack(scores, 1).float()


def observe(
    segmenter: Segmenter,
    cases: Sequence[Case],
    strengths: Sequence[float],
    average: bool = True,
    clicks: int = 0,
    seed: int = 0,
    monitor: Monitor = Monitor(),
) -> tuple[list[Signs], list[float], list[str]]:
    """Segments cases, as they are and spoiled: what is seen of each result, its true mean Dice, and whose it is.

    With `clicks` each result is also corrected so often, and what comes of that is seen too. Where nothing was found
    there is nothing to be seen; those are left out.
    """
    signs, dice, whose = [], [], []
    for number, case in enumerate(cases):
        monitor.check()
        image, truth = load_case(case, segmenter.spec)
        for place, strength in enumerate(strengths):
            hard = spoiled(image, strength, seed + number * len(strengths) + place)
            for found in corrected(segmenter, hard, truth, clicks, average):
                seen = segmenter.judge.signs(found.finds) if segmenter.judge else None
                if seen is not None:
                    signs.append(seen)
                    dice.append(mean_dice(found.label.array, truth.array, segmenter.spec.labels))
                    whose.append(case.id)
        monitor.report(case=case.id, progress=(number + 1) / len(cases))
    return signs, dice, whose


def calibrate(
    segmenter: Segmenter, cases: Sequence[Case], judging: JudgingConfig = JudgingConfig()
) -> dict[str, Calibration]:
    """Calibrates a model's discriminator on patients not trained on; where it finds too little in them it does not."""
    found = {}
    for key, average, clicks in ((DICE, True, 0), (ONE_VIEW, False, CORRECTED if segmenter.spec.clicks else 0)):
        with suppress(ValueError):
            found[key] = Calibration.fit(*observe(segmenter, cases, judging.strengths, average, clicks))
    return found


def spoiled(image: Volume, strength: float, seed: int) -> Volume:
    """A volume that is harder by `strength`, 0 to 1; the same for the same seed. Grey values become float32."""
    if strength <= 0:
        return image
    values = torch.from_numpy(image.array.astype(np.float32))
    spread = float(values.std()) or 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hard = harden(((values - values.mean()) / spread)[None, None], torch.tensor([strength]))
    return image.like(hard[0, 0].numpy())

"""Learning to be corrected: clicks and scribbles where the network is wrong, simulated while it trains.

As DeepEdit (Diaz-Pinto et al., "DeepEdit: Deep Editable Learning for Interactive Segmentation of 3D Medical Images",
2023, section 2): some batches have no clicks, so that the network goes on to segment alone; in the others clicks follow
its own mistakes one by one, and it learns from the last look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainers.data.cases import Case
from trainers.spec import ModelSpec
from trainers.task import Batch
from trainers.tasks.segmentation.clicking import measure_clicks
from trainers.tasks.segmentation.clicks import Voxels, channels
from trainers.tasks.segmentation.errors import correct
from trainers.tasks.segmentation.hard import harden
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask

AROUND = 2.0  # how much farther than its mark a correction is taken to reach


@dataclass(frozen=True)
class CorrectingConfig:
    """How corrections are simulated.

    Attributes:
        alone: share of batches without corrections.
        most: corrections in the others, from one to this many.
        scribbles: share of corrections that are a line.
        hard: share of images that are spoiled, so that there is something to correct.
        near: weight of the label around corrections.
        watched: validation cases that are corrected when the network is measured, and how often each.
    """

    alone: float = 0.3
    most: int = 4
    scribbles: float = 0.25
    hard: float = 0.7
    near: float = 1.0
    watched: tuple[int, int] = (5, 3)


class CorrectingTask(SegmentationTask):
    """A segmentation network with a further input channel for each class, for corrections."""

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        train: Sequence[Case],
        validation: Sequence[Case] = (),
        config: SegmentationConfig = SegmentationConfig(),
        correcting: CorrectingConfig = CorrectingConfig(),
        replay: Sequence[Case] = (),
        regulariser: Callable[[nn.Module], torch.Tensor] | None = None,
    ) -> None:
        """As `SegmentationTask`; a network without channels for corrections learns without them."""
        super().__init__(spec, network, train, validation, replay, config, regulariser)
        self.correcting = correcting

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Mean Dice alone, and `dice_corrected` of the watched cases after their corrections."""
        count, clicks = self.correcting.watched
        if not count:
            return super().validate(networks)
        segmenter = Segmenter.from_network(self.spec, networks["generator"])
        curves = [measure_clicks(segmenter, case, clicks) for case in self.validation[:count]]
        corrected = float(np.mean([curve.dice[-1] for curve in curves])) if curves else float("nan")
        return {**super().validate(networks), "dice_corrected": corrected}

    def identity(self) -> dict[str, Any]:
        """As without corrections, and how they are simulated."""
        return {**super().identity(), "correcting": asdict(self.correcting), "clicks": self.spec.clicks}

    def _generator_losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        images = spoil_some(batch["image"], self.correcting.hard)
        guide = self._corrections(images, batch["label"])
        return super()._generator_losses({**batch, "image": images, "guide": guide})

    def _supervise(self, logits: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Around corrections the label counts once more: they are few, and their surroundings small."""
        losses = super()._supervise(logits, batch)
        near = batch["guide"].amax(1) ** (1 / AROUND**2)
        if not near.any():
            return losses
        each = cross_entropy(logits, batch["label"][:, 0].long(), reduction="none")
        return {**losses, "near": self.correcting.near * (each * near).sum() / near.sum()}

    def _corrections(self, images: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The marks (b, class, x, y, z) of as many corrections as chance wants, each after a look at the last."""
        guide = torch.zeros(len(images), self.classes, *images.shape[2:], device=images.device)
        if float(torch.rand(())) < self.correcting.alone or not self.spec.clicks:
            return guide
        random = np.random.default_rng(int(torch.randint(2**31, ())))
        truth = label[:, 0].cpu().numpy().astype(np.int64)
        marks: list[dict[int, Voxels]] = [{} for _ in images]
        for _ in range(int(random.integers(1, self.correcting.most + 1))):
            with torch.no_grad():
                found = self.networks["generator"](self._inputs(images, guide)).argmax(1).cpu().numpy()
            for item, known in enumerate(marks):
                correction = correct(found[item], truth[item], random, self.correcting.scribbles)
                if correction is not None:
                    earlier = known.get(correction.index, np.zeros((0, 3), int))
                    known[correction.index] = np.concatenate([earlier, correction.voxels])
                    seen = channels(known, self.classes, images.shape[2:], self.spec.clicks)
                    guide[item] = torch.from_numpy(seen).to(guide)
        return guide


def spoil_some(images: torch.Tensor, share: float) -> torch.Tensor:
    """Hardens a share of images (b, 1, x, y, z), each by its own strength, which chance draws."""
    chosen = torch.rand(len(images)) < share
    return harden(images, torch.where(chosen, torch.rand(len(images)), torch.zeros(())))


def with_more_inputs(narrow: nn.Module, wide: nn.Module) -> nn.Module:
    """Gives a network with more input channels the weights of one with fewer.

    The new channels keep their own first weights: without corrections they are 0, and what they do does not show; with
    weights of 0 they would take thousands of steps to be heard.

    Args:
        narrow: e.g. trained without corrections.
        wide: the same network but for its input; changed and returned.

    Raises:
        ValueError: the networks differ in more than their input.
    """
    known, state = narrow.state_dict(), wide.state_dict()
    if set(known) != set(state):
        raise ValueError("The networks differ in more than their input channels.")
    for name, weight in state.items():
        have = known[name]
        if have.shape == weight.shape:
            state[name] = have.clone()
        elif have.ndim > 2 and have.shape[1] < weight.shape[1] and have[:, 0].shape == weight[:, 0].shape:
            state[name] = torch.cat([have, weight[:, have.shape[1] :]], 1)
        else:
            raise ValueError(f"The networks differ in {name}: {tuple(have.shape)}, {tuple(weight.shape)}.")
    wide.load_state_dict(state)
    return wide


def mean_of(one: nn.Module, other: nn.Module, share: float) -> nn.Module:
    """Gives `one` the weighted mean of its weights and those of the same network trained on; returns it.

    Args:
        one: changed.
        other: as it is.
        share: weight of `other`, 0 to 1.
    """
    theirs = other.state_dict()
    one.load_state_dict(
        {k: torch.lerp(v, theirs[k], share) if v.is_floating_point() else v for k, v in one.state_dict().items()}
    )
    return one

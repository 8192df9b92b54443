"""What the training loop is told: what to learn (`TrainingTask`: networks, phases, batches) and how (`FitConfig`)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Batch = dict[str, torch.Tensor]
NO_EFFECT = ("threads", "workers", "device", "checkpoint_every")
"""Settings of `FitConfig` that do not change what is learned."""


@dataclass(frozen=True)
class Phase:
    """One update within a step, of some of the networks, e.g. the discriminator's and then the generator's.

    Attributes:
        name: for reports. networks: keys of the networks that this phase changes; the others stand still.
        losses: takes a batch, returns named losses; their sum is minimised.
        learning_rate: factor on the run's learning rate.
        every: it takes its turn at each step of that number alone, so that others learn more often.
        after: called when the networks have changed, e.g. to keep weights within limits.
    """

    name: str
    networks: tuple[str, ...]
    losses: Callable[[Batch], Mapping[str, torch.Tensor]]
    learning_rate: float = 1.0
    every: int = 1
    after: Callable[[], None] | None = None


class TrainingTask(ABC):
    """What to learn. `networks` are created by the task; the loop moves, wraps, and updates them in place."""

    networks: dict[str, nn.Module]
    key_metric: str
    higher_is_better: bool = True
    seed: int = 0

    @abstractmethod
    def phases(self) -> list[Phase]:
        """The updates of one step, in order."""

    @abstractmethod
    def batch(self, step: int, size: int, rank: int) -> Batch:
        """The batch of a step; depends on its arguments and the task's seed alone."""

    @abstractmethod
    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Measures averaged networks; must have `key_metric` unless it is empty."""

    def identity(self) -> dict[str, Any]:
        """Settings and data, as JSON, without which a stopped run of this task would not go on as the same run."""
        return {}


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        steps: updates of every phase. batch_size: images a step and process.
        learning_rate: highest, reached after `warmup` (share of the steps), then a cosine to zero.
        ema: decay of the averaged weights that are validated and saved.
        precision: `auto`, `fp32`, `bf16` or `fp16`; auto is fp16 with loss scaling on CUDA, and on a CPU bf16 if it has
            instructions for it, else fp32.
        patience: measurements without a better one after which a run ends, with the best networks; 0 goes on to the
            last step, and takes those.
        validate_every: steps; 0 is only at the end. checkpoint_every: seconds.
        threads: CPU threads of torch; 0 leaves them alone. workers: processes that make batches.
    """

    steps: int
    batch_size: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.05
    ema: float = 0.999
    precision: str = "auto"
    gradient_clip: float = 12.0
    validate_every: int = 0
    patience: int = 0
    checkpoint_every: float = 60.0
    threads: int = 0
    workers: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or self.threads < 0 or not 0 < self.learning_rate < math.inf:
            raise ValueError(f"Steps, images and learning rate are above 0, threads not below it; got {self}.")

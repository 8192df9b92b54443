"""Batches in the order of the steps, made ahead by other processes if wanted, and seeds that tell steps apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch.utils.data import DataLoader, Dataset

from trainers.task import Batch, FitConfig, TrainingTask


def load_batches(task: TrainingTask, config: FitConfig, first: int, rank: int, pinned: bool) -> Iterable[Batch]:
    """The batches of a run from a step on, on the CPU.

    Args:
        task: makes them.
        config: how many steps, how large, and by how many processes.
        first: step to begin with.
        rank: of this process among those that train together.
        pinned: whether memory is locked, from which a GPU copies faster.
    """
    return DataLoader(
        _Steps(task, config.batch_size, rank),
        batch_size=None,
        sampler=range(first, config.steps),
        num_workers=config.workers,
        pin_memory=pinned,
        persistent_workers=config.workers > 0,
    )


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, so that neighbours have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Steps(Dataset[Batch]):
    """Batches by step, so that loader processes can make them ahead in any order."""

    def __init__(self, task: TrainingTask, size: int, rank: int) -> None:
        self.task, self.size, self.rank = task, size, rank

    def __getitem__(self, step: int) -> Batch:
        return self.task.batch(step, self.size, self.rank)

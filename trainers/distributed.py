"""Several processes that train as one, as started by torchrun; a single process is a world of one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others: the first one measures alone, which may take long."""


@dataclass
class World:
    """This process's place among those that train together. A context manager that joins and leaves the group.

    One within another joins nothing and leaves nothing: gloo may wait for ever when a group that was left is joined
    again, so that a program that trains several times holds one around them all.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    _joined: bool = field(default=False, init=False, repr=False, compare=False)

    @classmethod
    def from_environment(cls) -> World:
        """Reads torchrun's RANK, LOCAL_RANK and WORLD_SIZE."""
        rank, local, size = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1)))
        return cls(rank, local, size) if "LOCAL_RANK" in os.environ else cls()

    def __enter__(self) -> World:
        self._joined = self.size > 1 and not dist.is_initialized()
        if self._joined:
            gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if self.local_rank < gpus:
                torch.cuda.set_device(self.local_rank)
            backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"  # a run may be told to stay on the CPU all the same
            dist.init_process_group(backend, timeout=TIMEOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined and dist.is_initialized():
            if error is None:  # a process that leaves while another still talks to it can abort that one
                self.barrier()
            dist.destroy_process_group()

    def agree(self, told: bool) -> bool:
        """What the first process says; for decisions that all must share."""
        said = [told]
        if self.size > 1:
            dist.broadcast_object_list(said, src=0)
        return said[0]

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.size > 1:
            dist.barrier()

"""Early stopping: keeps the best networks of a run, and tells when it is of no use to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class Patience:
    """What was best so far.

    Args:
        limit: measurements without a better one after which a run is over; 0 keeps nothing and never ends one.
        higher_is_better: of the figure that is looked at.
    """

    def __init__(self, limit: int, higher_is_better: bool = True) -> None:
        self.limit, self._sign = limit, 1 if higher_is_better else -1
        self._value, self._waited = -math.inf, 0
        self._best: dict[str, dict[str, torch.Tensor]] = {}

    @property
    def over(self) -> bool:
        """Whether patience is at its end."""
        return bool(self.limit) and self._waited >= self.limit

    def see(self, value: float, networks: Mapping[str, nn.Module]) -> None:
        """Takes a measurement of networks; the first of equals is the best."""
        if not self.limit:
            return
        signed = self._sign * value if math.isfinite(value) else -math.inf
        if self._best and signed <= self._value:
            self._waited += 1
            return
        self._value, self._waited = signed, 0
        self._best = {n: {k: v.detach().clone() for k, v in net.state_dict().items()} for n, net in networks.items()}

    def restore(self, networks: Mapping[str, nn.Module]) -> None:
        """Gives networks the best weights, if there are any."""
        for name, state in self._best.items():
            networks[name].load_state_dict(state)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"value": self._value, "waited": self._waited, "best": self._best}

    def load(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self._value, self._waited, self._best = state["value"], state["waited"], state["best"]

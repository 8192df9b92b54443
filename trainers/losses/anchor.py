"""Staying near what was learned before."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def l2_sp(network: nn.Module, start: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Squared distance of a network's parameters to where fine-tuning started, halved.

    Li, Grandvalet, Davoine, "Explicit inductive bias for transfer learning with convolutional networks", ICML 2018,
    equation 2 (L2-SP): Omega(w) = alpha / 2 * ||w - w0||^2; alpha is the caller's.

    Args:
        network: the network being trained.
        start: its parameters by name before the first step.

    Returns:
        A scalar. Raises KeyError if `start` lacks a parameter.
    """
    named = [(name.removeprefix("module."), p) for name, p in network.named_parameters()]
    return 0.5 * torch.stack([(p - start[name]).float().square().sum() for name, p in named]).sum()

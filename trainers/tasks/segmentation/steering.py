"""Corrections reach beyond their place: the network's last layer is fitted anew to them, for this image alone.

Kontogianni et al., "Continuous adaptation for interactive object segmentation by learning from corrections", ECCV 2020,
equation 1: a loss at the clicks, and one that holds the network to what it said before. Here only the last layer, a
linear map of each voxel's features, is adapted, which takes a tenth of a second; and what it changes fades with the
distance to the nearest correction, for one click knows nothing of the other end of the organ.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

STEPS, RATE = 40, 0.05
HELD = 6.0  # weight of what the network said before, over all voxels
SHRINK = 1e-3  # weight decay of the change
NEAR = 0.6  # value of a correction's mark from which a voxel is taken to have its label: two voxels with a reach of two
SHARE = 0.6  # of the fitted change that is made: a few voxels are certain of too much
FAR = 8.0  # voxels: standard deviation of the Gaussian with which the change fades
SAMPLE = 8000  # voxels at which it is held


@contextmanager
def features_of(network: nn.Module, classes: int) -> Iterator[list[torch.Tensor]]:
    """Collects what goes into a network's last layer while it runs; nothing, if that is no map to the classes.

    Of this thread alone: others may run the same network on other patients' images at the same time.
    """
    seen: list[torch.Tensor] = []
    layer = last_layer(network, classes)
    mine = threading.get_ident()

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if threading.get_ident() == mine:
            seen.append(inputs[0])

    handle = layer.register_forward_pre_hook(keep) if layer else None
    try:
        yield seen
    finally:
        if handle:
            handle.remove()


def last_layer(network: nn.Module, classes: int) -> nn.Module | None:
    """A network's last convolution, if it is 1 x 1 x 1 and gives the classes."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    last = layers[-1] if layers else None
    fits = isinstance(last, nn.Conv3d) and last.out_channels == classes and set(last.kernel_size) == {1}
    return last if fits else None


def steer(logits: torch.Tensor, features: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
    """Logits that agree with the corrections.

    Args:
        logits: (1, class, x, y, z).
        features: of the last layer, (1, c, x, y, z).
        guide: marks of the corrections (1, class, x, y, z), 1 at the marked voxels.

    Returns:
        (1, class, x, y, z).
    """
    before = logits[0].flatten(1).T
    seen = features[0].flatten(1).T
    seen = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
    strength, label = guide[0].flatten(1).max(0)
    with torch.inference_mode(False), torch.enable_grad():
        change = _fit(*(t.clone() for t in (before, seen, strength, label)))
    reach = _fade(guide[0].amax(0)).flatten()[:, None]
    after = before + SHARE * reach * (seen @ change[:, :-1].T + change[:, -1])
    return after.T.reshape(logits.shape)


def _fit(before: torch.Tensor, seen: torch.Tensor, strength: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The change of the last layer, weights and bias (class, c + 1), from voxels by row."""
    marked = strength > NEAR
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(before))[:SAMPLE]).to(before.device)
    said = softmax(before[chosen], 1)
    log_said = said.clamp(min=1e-6).log()
    change = torch.zeros(before.shape[1], seen.shape[1] + 1, device=before.device, requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        now = [before[at] + seen[at] @ change[:, :-1].T + change[:, -1] for at in (marked, chosen)]
        each = cross_entropy(now[0], label[marked], reduction="none")
        clicked = (each * strength[marked]).sum() / strength[marked].sum()
        moved = (said * (log_said - log_softmax(now[1], 1))).sum(1).mean()
        loss = clicked + HELD * moved + SHRINK * (change[:, :-1] ** 2).sum()
        loss.backward()
        optimiser.step()
    return change.detach()


def _fade(marks: torch.Tensor) -> torch.Tensor:
    """1 at the marked voxels, falling off as a Gaussian with the distance to the nearest one: (x, y, z)."""
    distance = ndimage.distance_transform_edt(marks.cpu().numpy() < 1 - 1e-3)
    return torch.from_numpy(np.exp(-(distance**2) / (2 * FAR**2)).astype(np.float32)).to(marks.device)

"""Where models compute: the processor or GPUs, by their names in torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import torch

AUTO, CPU = "auto", "cpu"
ALL, NONE = "all", "-1"  # of the GPUs that a process of its own sees
_GPU = re.compile(r"cuda:(\d{1,2})")


def compute_devices(names: Sequence[str], gpus: int | None = None) -> tuple[str, ...]:
    """The devices that a setting names; `auto` alone is every GPU or, without one, the processor.

    Args:
        names: `auto`, or `cpu` and `cuda:N`, each once.
        gpus: how many there are, by default those that torch sees.

    Raises:
        ValueError: a name that is none, or of a GPU that is not there.
    """
    count = torch.cuda.device_count() if gpus is None else gpus
    present = tuple(f"cuda:{number}" for number in range(count))
    if tuple(names) == (AUTO,):
        return present or (CPU,)
    for name in names:
        if name not in (CPU, *present):
            raise ValueError(f"There is no device {name!r} here. Devices: {', '.join((CPU, *present))}.")
    if len(set(names)) < len(names):
        raise ValueError("A device is named twice.")
    return tuple(names)


def visible_gpus(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a process of its own must have as CUDA_VISIBLE_DEVICES to compute on `device`; `all` leaves it as it is.

    Args:
        device: `auto`, `cpu` or `cuda:N`, counted as this process sees them.
        environment: of this process, which may itself see some GPUs alone.
    """
    found = _GPU.fullmatch(device)
    if not found:
        return NONE if device == CPU else ALL
    seen = environment.get("CUDA_VISIBLE_DEVICES", "")
    return seen.split(",")[int(found[1])].strip() if seen else found[1]

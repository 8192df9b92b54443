"""Where networks run, and with which numbers."""

from __future__ import annotations

import torch


def pick_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """`auto` is this process's GPU if there is one, else the CPU."""
    if name == "auto":
        name = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Number type of automatic mixed precision, or None for float32."""
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if _has_bf16() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def _has_bf16() -> bool:
    """Whether this CPU and this build of torch multiply bfloat16 in hardware."""
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return any(
        bool(getattr(torch.cpu, probe, bool)()) for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )

"""Where networks run, and with which numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

KNOWN = ("cpu", "mps", "xpu")
CONVOLUTIONS = frozenset(
    [torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d]
)


class DeviceError(ValueError):
    """A device that there is not."""


def pick_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """`auto` is this process's GPU if there is one, else the CPU. Raises DeviceError if there is none of that name."""
    if name == "auto":
        name = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}. Give cpu, cuda, cuda:1, … or auto.") from error
    if device.type == "cuda":
        _check_gpu(name, device)
    elif device.type not in KNOWN:
        raise DeviceError(f"Networks do not run on {name!r} here. Give cpu, cuda, cuda:1, … or auto.")
    return device


def _check_gpu(name: str, device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise DeviceError(f"There is no GPU for {name!r} that torch can use. Give cpu or auto, or install its driver.")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise DeviceError(f"There is no {name}: {count} GPUs are here, counted from cuda:0.")


def pick_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Number type of automatic mixed precision, or None for float32."""
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if _has_bf16() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


@contextmanager
def mixed_precision(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Within it operations run in `dtype` where that is known to do no harm; in float32 if it is None."""
    if dtype is None:
        yield
    elif device.type != "cpu":
        with torch.autocast(device.type, dtype):
            yield
    else:
        with torch.autocast("cpu", dtype), _SmallInFull():
            yield


class _SmallInFull(TorchFunctionMode):
    """Convolutions of images that are hardly larger than the kernel stay in float32.

    oneDNN, as torch 2.14 brings it, leaves part of the gradient of such weights unset where a CPU multiplies bfloat16,
    and writes past its memory: seen for sizes up to the kernel's (random shapes, kernels of 1 to 7, 2D and 3D). Maps so
    small cost next to nothing.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        if func not in CONVOLUTIONS or not _is_small(*args[:2]):
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(args[0].float(), args[1].float(), *args[2:], **(kwargs or {}))


def _is_small(image: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether an axis of an image (…, *size) is shorter than twice the kernel's. Layers give both by position."""
    spatial = weight.dim() - 2
    return any(n < 2 * k for n, k in zip(image.shape[-spatial:], weight.shape[2:], strict=True))


def _has_bf16() -> bool:
    """Whether this CPU and this build of torch multiply bfloat16 in hardware."""
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return any(
        bool(getattr(torch.cpu, probe, bool)()) for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )

"""Devices by name, and mixed precision on a CPU: bfloat16 where images are large, float32 where it is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainers.devices import DeviceError, mixed_precision, pick_device

CPU = torch.device("cpu")


def gradient(layer: nn.Module, image: torch.Tensor, dtype: torch.dtype | None) -> tuple[torch.dtype, torch.Tensor]:
    layer.zero_grad()
    with mixed_precision(CPU, dtype):
        made = layer(image)
    made.float().square().mean().backward()
    weight = layer.weight
    assert isinstance(weight, nn.Parameter) and weight.grad is not None
    return made.dtype, weight.grad.clone()


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv3d(16, 32, 4, 1, 1), (3, 3, 3)),  # unset memory in the gradient by torch 2.14.1, AMD Zen 4
        (nn.Conv3d(192, 1, 4, 1, 1), (3, 5, 3)),
        (nn.Conv3d(16, 32, 3, 1, 1), (2, 2, 2)),
        (nn.Conv3d(16, 8, 3, 2, 1), (1, 1, 1)),
        (nn.Conv3d(16, 8, 5, 1, 2), (12, 4, 12)),
        (nn.Conv2d(16, 8, 3, 2, 1), (1, 1)),
        (nn.ConvTranspose3d(8, 8, 3, 2, 1), (2, 2, 2)),
    ],
)
def test_small_images_are_convolved_in_full_precision(layer: nn.Module, size: tuple[int, ...]) -> None:
    image = torch.randn(4, int(getattr(layer, "in_channels")), *size)  # noqa: B009
    expected = gradient(layer, image, None)
    found = gradient(layer, image, torch.bfloat16)
    assert expected[0] is found[0] is torch.float32
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)


def test_large_ones_are_not() -> None:
    layer, image = nn.Conv3d(4, 8, 3, 1, 1), torch.randn(2, 4, 8, 8, 8)
    expected = gradient(layer, image, None)
    found = gradient(layer, image, torch.bfloat16)
    assert found[0] is torch.bfloat16
    assert (found[1] - expected[1]).abs().max() < 0.02 * expected[1].abs().max()


def test_a_half_precision_image_meets_float32_weights() -> None:
    layer, image = nn.Conv2d(4, 8, 3, 1, 1), torch.randn(2, 4, 3, 3)
    with mixed_precision(CPU, torch.bfloat16):
        made = layer(image.bfloat16())
    assert made.dtype is torch.float32


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("foo", 0, "There is no device 'foo'. Give cpu, cuda"),
        ("meta", 0, "Networks do not run on 'meta'"),
        ("cuda", 0, "no GPU for 'cuda' that torch can use"),
        ("cuda:2", 2, "There is no cuda:2: 2 GPUs are here"),
    ],
)
def test_a_device_that_there_is_not_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(DeviceError, match=message):
        pick_device(name)
    assert pick_device("cpu") == CPU and pick_device("auto").type == ("cuda" if gpus else "cpu")
    assert not gpus or pick_device("cuda:1") == torch.device("cuda", 1)

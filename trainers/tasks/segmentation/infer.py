"""Running a segmentation model on an image of any orientation, spacing and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from trainers.data.volumes import Volume
from trainers.devices import pick_device
from trainers.monitor import Monitor
from trainers.networks import load
from trainers.preprocess import Preprocess
from trainers.spec import WEIGHTS_FILE, ModelSpec
from trainers.tasks.segmentation.regions import Roi, is_one_window, is_small, windows_at, windows_over
from trainers.tasks.segmentation.search import Search

Floats = npt.NDArray[np.float32]
STRIDE = 8  # window sizes are padded to a multiple: the network halves them three times


@dataclass(frozen=True)
class Segmentation:
    """What a model found.

    Attributes:
        label: uint8 label values on the image's own grid.
        uncertainty: entropy of the class probabilities, nats, on the same grid; 0 where the model did not look.
        warnings: plain sentences for the clinician. seconds: time of `pre`, `infer`, `post`.
    """

    label: Volume
    uncertainty: Volume
    warnings: list[str]
    seconds: dict[str, float]


class Segmenter:
    """A segmentation model that is ready to run. Safe to call from several threads."""

    def __init__(self, model_dir: Path | str, device: str = "cpu") -> None:
        """Loads `model_dir`. Raises ModelNotAvailable if its spec or weights cannot be used."""
        spec = ModelSpec.load(model_dir)
        network = load(spec.network, Path(model_dir) / WEIGHTS_FILE)
        self._set(spec, network, pick_device(device))

    @classmethod
    def from_network(cls, spec: ModelSpec, network: nn.Module) -> Segmenter:
        """Wraps a network that is in memory, on the device it is on."""
        segmenter = cls.__new__(cls)
        segmenter._set(spec, network, next(network.parameters()).device)
        return segmenter

    def _set(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.settings = Preprocess(**spec.preprocess)
        self.values = np.array([0, *sorted(spec.labels.values())], np.uint8)
        self._network = network.to(device).eval()

    def __call__(
        self,
        volume: Volume,
        points: Sequence[Sequence[float]] = (),
        roi: Roi | None = None,
        test_time_augmentation: bool = True,
        monitor: Monitor = Monitor(),
    ) -> Segmentation:
        """Segments an image.

        Args:
            volume: the image. A crop around the organ is taken whole; a larger image needs points or a region.
            points: RAS mm, one near each organ to segment.
            roi: a box around the organ or organs.
            test_time_augmentation: average over mirrored and resized views; several times the time, better borders.
            monitor: hears `progress` from 0 to 1; may cancel between windows.

        Raises:
            VolumeError: `needs_region`. Cancelled: from the monitor.
        """
        search = Search(volume, self.settings, self.spec.organs, self.probabilities, test_time_augmentation, monitor)
        near = windows_at(search.grid, self.settings, points)
        if is_one_window(search.grid, self.settings) or (not near and is_small(search.grid, self.settings)):
            search.take(search.grid.whole())
        elif near:
            search.near_points(near)
        else:
            search.in_region(windows_over(search.grid, self.settings, roi), roi)
        search.warn_if_unsure()
        label, uncertainty = search.paste(self.values)
        return Segmentation(volume.like(label), volume.like(uncertainty), search.warnings, search.seconds)

    @torch.inference_mode()
    def probabilities(self, image: Floats, average: bool) -> Floats:
        """Class probabilities of one normalised window.

        Args:
            image: (x, y, z).
            average: also look at the window mirrored left to right and in the other sizes of `spec.views`.

        Returns:
            (class, x, y, z).
        """
        whole = torch.from_numpy(np.ascontiguousarray(image))[None, None].to(self.device)
        sizes = self.spec.views if average else [1.0]
        seen = [self._view(whole, size, average) for size in sizes]
        return torch.stack(seen).mean(0)[0].cpu().numpy()

    def _view(self, image: torch.Tensor, size: float, mirror: bool) -> torch.Tensor:
        """Class probabilities (1, class, x, y, z) of an image looked at in another size, averaged with its mirror's."""
        shape = image.shape[2:]
        resized = image if size == 1 else _resize(image, [max(STRIDE, round(n * size)) for n in shape])
        inner = resized.shape[2:]
        padded = pad(resized, [p for n in reversed(inner) for p in (0, -n % STRIDE)])
        total = torch.softmax(self._network(padded).float(), 1)
        if mirror:
            total = (total + torch.softmax(self._network(padded.flip(2)).float(), 1).flip(2)) / 2
        total = total[..., : inner[0], : inner[1], : inner[2]]
        return total if size == 1 else _resize(total, shape)


def _resize(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return interpolate(image, size=tuple(shape), mode="trilinear", align_corners=True)

"""Running a segmentation model on an image of any orientation, spacing and size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from trainers.data.volumes import Volume
from trainers.fit import pick_device
from trainers.monitor import Monitor
from trainers.networks import build
from trainers.preprocess import CanonicalGrid, Preprocess, Window, normalise
from trainers.spec import WEIGHTS_FILE, ModelSpec, load_weights
from trainers.tasks.segmentation.regions import Roi, first_windows, is_small

Floats = npt.NDArray[np.float32]
STRIDE = 8  # window sizes are padded to a multiple: the network halves them three times
RECENTRE_MM = 2.0  # a window is moved until the organ's middle is this near its own
RECENTRE_ROUNDS = 4
SMALLEST_MM3 = 200.0  # less than a fifteenth of an adult hippocampus is not one


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
        network = build(spec.network)
        load_weights(network, Path(model_dir) / WEIGHTS_FILE)
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
            test_time_augmentation: average with the mirrored image's result; twice the time, slightly better.
            monitor: hears `progress` from 0 to 1; may cancel between windows.

        Raises:
            VolumeError: `needs_region`. Cancelled: from the monitor.
        """
        run = _Run(self, volume, test_time_augmentation, monitor)
        if is_small(run.grid, self.settings):
            run.take(run.grid.whole())
        else:
            run.search(first_windows(run.grid, self.settings, points, roi), from_points=bool(points))
        return run.result()

    @torch.inference_mode()
    def probabilities(self, image: Floats, mirror: bool) -> Floats:
        """Class probabilities (class, x, y, z) of one normalised window (x, y, z), averaged with its mirror image's."""
        pads = [(0, -n % STRIDE) for n in image.shape]
        batch = torch.from_numpy(np.pad(image, pads))[None, None].to(self.device)
        total = torch.softmax(self._logits(batch), 1)
        if mirror:
            total = (total + torch.softmax(self._logits(batch.flip(2)), 1).flip(2)) / 2
        x, y, z = image.shape
        return total[0, :, :x, :y, :z].float().cpu().numpy()

    def _logits(self, batch: torch.Tensor) -> torch.Tensor:
        return self._network(batch).float()


class _Run:
    """One call of a Segmenter: the windows it looked at and what it found there."""

    def __init__(self, model: Segmenter, volume: Volume, mirror: bool, monitor: Monitor) -> None:
        self.model, self.volume, self.mirror, self.monitor = model, volume, mirror, monitor
        self.grid = CanonicalGrid(volume, model.settings.spacing)
        self.found: list[tuple[Window, Floats]] = []
        self.warnings: list[str] = []
        self.seconds = {"pre": 0.0, "infer": 0.0, "post": 0.0}

    def take(self, window: Window) -> None:
        """Segments one window and keeps the result."""
        self.found.append((window, _largest(self._look(window))))

    def search(self, windows: Sequence[Window], from_points: bool) -> None:
        """Looks at windows, moves each onto the organ it shows, and keeps what is new."""
        for number, window in enumerate(windows):
            self.monitor.report(progress=number / len(windows))
            window, maps = self._recentre(window)
            if self._size_mm3(maps) < SMALLEST_MM3:
                if from_points:
                    self.warnings.append(f"Nothing was found near point {number + 1}. Place it nearer to the organ.")
            elif not any(self._same(window, other) for other, _ in self.found):
                self.found.append((window, maps))
        if not self.found and not from_points:
            self.warnings.append("Nothing was found in the region of interest.")

    def result(self) -> Segmentation:
        """Brings all windows back to the image's own voxels."""
        started = time.perf_counter()
        label, entropy = self.grid.oriented_zeros(np.uint8), self.grid.oriented_zeros(np.float32)
        for window, maps in self.found:
            block, slices = self.grid.paste(maps, window)
            values = self.model.values[block.argmax(0)]
            label[slices] = np.where(values > 0, values, label[slices])
            entropy[slices] = np.maximum(entropy[slices], _entropy(block))
        self.seconds["post"] = time.perf_counter() - started
        self.monitor.report(progress=1.0)
        native = [self.volume.like(self.grid.to_native(part)) for part in (label, entropy)]
        return Segmentation(native[0], native[1], self.warnings, self.seconds)

    def _look(self, window: Window) -> Floats:
        self.monitor.check()
        started = time.perf_counter()
        image = normalise(
            self.grid.extract(self.volume.array, window), self.grid.inside(window), self.model.settings.clip
        )
        prepared = time.perf_counter()
        maps = self.model.probabilities(image, self.mirror)
        self.seconds["pre"] += prepared - started
        self.seconds["infer"] += time.perf_counter() - prepared
        return maps

    def _recentre(self, window: Window) -> tuple[Window, Floats]:
        """Moves a window until the organ that it shows is in its middle."""
        maps = _largest(self._look(window))
        for _ in range(RECENTRE_ROUNDS):
            spots = np.argwhere(maps.argmax(0) > 0)
            if not len(spots):
                break
            middle = (spots.min(0) + spots.max(0)) / 2
            better = Window.around(middle + window.start, window.size)
            moved = np.abs(np.subtract(better.start, window.start)) * self.model.settings.spacing
            if moved.max() < RECENTRE_MM:
                break
            window, maps = better, _largest(self._look(better))
        return window, maps

    def _size_mm3(self, maps: Floats) -> float:
        return float((maps.argmax(0) > 0).sum() * np.prod(self.model.settings.spacing))

    @staticmethod
    def _same(a: Window, b: Window) -> bool:
        """Whether two windows show the same organ: nearer than half a window."""
        return bool(np.all(np.abs(np.subtract(a.start, b.start)) < np.array(a.size) / 2))


def _largest(maps: Floats) -> Floats:
    """Turns all but the largest connected piece of foreground into background. Takes and returns (class, x, y, z)."""
    pieces, count = ndimage.label(maps.argmax(0) > 0)
    if count < 2:
        return maps
    sizes = np.bincount(pieces.ravel())[1:]
    stray = (pieces > 0) & (pieces != 1 + sizes.argmax())
    out = maps.copy()
    out[:, stray] = 0
    out[0, stray] = 1
    return out


def _entropy(maps: npt.NDArray[Any]) -> Floats:
    """Shannon entropy over the first axis, nats."""
    p = np.clip(maps, 1e-7, 1)
    return -(p * np.log(p)).sum(0)

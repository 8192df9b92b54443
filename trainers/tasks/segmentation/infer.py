"""Running a segmentation model on an image of any orientation, spacing and size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import nn
from torch.nn.functional import interpolate, pad

from trainers.data.volumes import Volume, VolumeError
from trainers.devices import pick_device
from trainers.monitor import Monitor
from trainers.networks import load
from trainers.preprocess import CanonicalGrid, Preprocess
from trainers.spec import WEIGHTS_FILE, ModelSpec
from trainers.tasks.segmentation.clicks import Click, Clicks, Mark, by_class, channels
from trainers.tasks.segmentation.quality import Judge, Quality
from trainers.tasks.segmentation.reaching import reach
from trainers.tasks.segmentation.regions import Roi, is_one_window, is_small, windows_at, windows_over
from trainers.tasks.segmentation.search import Find, Search
from trainers.tasks.segmentation.steering import features_of, steer

Floats = npt.NDArray[np.float32]
STRIDE = 8  # window sizes are padded to a multiple: the network halves them three times


@dataclass(frozen=True)
class Segmentation:
    """What a model found.

    Attributes:
        label: uint8 label values on the image's own grid.
        entropy: makes `uncertainty`, which takes longer than the label and is not always wanted.
        warnings: plain sentences for the clinician. seconds: time of `pre`, `infer`, `post`.
        finds: what was found in each window that was looked at.
        quality: how good the label probably is; None from a model that cannot judge itself, or if nothing was found.
    """

    label: Volume
    entropy: Callable[[], Volume]
    warnings: list[str]
    seconds: dict[str, float]
    finds: list[Find] = field(default_factory=list)
    quality: Quality | None = None

    @cached_property
    def uncertainty(self) -> Volume:
        """Entropy of the class probabilities, nats, on the label's grid; 0 where the model did not look."""
        return self.entropy()


class Segmenter:
    """A segmentation model that is ready to run. Safe to call from several threads."""

    def __init__(self, model_dir: Path | str, device: str = "cpu") -> None:
        """Loads `model_dir`. Raises ModelNotAvailable if its spec or weights cannot be used."""
        spec = ModelSpec.load(model_dir)
        network = load(spec.network, Path(model_dir) / WEIGHTS_FILE)
        self._set(spec, network, pick_device(device), Judge.load(model_dir, spec, pick_device(device)))

    @classmethod
    def from_network(cls, spec: ModelSpec, network: nn.Module) -> Segmenter:
        """Wraps a network that is in memory, on the device it is on."""
        segmenter = cls.__new__(cls)
        segmenter._set(spec, network, next(network.parameters()).device)
        return segmenter

    def _set(self, spec: ModelSpec, network: nn.Module, device: torch.device, judge: Judge | None = None) -> None:
        self.spec, self.device, self.judge = spec, device, judge
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
        clicks: Sequence[Click] = (),
    ) -> Segmentation:
        """Segments an image.

        Args:
            volume: the image. A crop around the organ is taken whole; a larger image needs points or a region.
            points: RAS mm, one near each organ to segment.
            roi: a box around the organ or organs.
            test_time_augmentation: average over mirrored and resized views; several times the time, better borders.
            monitor: hears `progress` from 0 to 1; may cancel between windows.
            clicks: all corrections so far. In a larger image those that add a label also say where to look.

        Raises:
            VolumeError: `needs_region`, `outside_image`; `wrong_labels` for a correction with a label that the model
                does not know, `cannot_process` for corrections to a model that takes none. Cancelled: from the monitor.
        """
        average = test_time_augmentation
        given = partial(self._clicks, clicks)
        search = Search(volume, self.settings, self.spec.organs, self.probabilities, average, monitor, given)
        near = windows_at(search.grid, self.settings, points)
        if is_one_window(search.grid, self.settings) or (not near and is_small(search.grid, self.settings)):
            search.take(search.grid.whole())
        elif near:
            search.near_points(near)
        elif roi or not (search.clicks and search.clicks.places()):
            search.in_region(windows_over(search.grid, self.settings, roi), roi)
        search.where_clicked()
        label = search.label(self.values)
        self._obey(label, volume, clicks)
        quality = self.judge(search.finds, bool(clicks) or not average) if self.judge else None
        if quality is None or not quality.good:
            search.warn_if_unsure()
        found = (volume.like(label), lambda: volume.like(search.entropy()), search.warnings, search.seconds)
        return Segmentation(*found, search.finds, quality)

    def _clicks(self, clicks: Sequence[Click], grid: CanonicalGrid) -> Clicks | None:
        """The corrections on a grid. Raises VolumeError if the model takes none."""
        if not clicks:
            return None
        if not self.spec.clicks:
            hint = "Correct the segmentation by hand."
            raise VolumeError("cannot_process", f"{self.spec.name} cannot be corrected by clicks.", hint)
        return Clicks(clicks, grid, [int(v) for v in self.values])

    @staticmethod
    def _obey(label: npt.NDArray[np.uint8], volume: Volume, clicks: Sequence[Click]) -> None:
        """Sets the image's own voxels that were clicked: between coarser voxels the border may lie across one."""
        to_index = np.linalg.inv(volume.affine)
        for click in clicks:
            for point in click.points:
                place = np.rint((to_index @ [*point, 1.0])[:3]).astype(int)
                label[tuple(np.clip(place, 0, np.array(label.shape) - 1))] = click.label

    @torch.inference_mode()
    def probabilities(self, image: Floats, average: bool, marks: Sequence[Mark] = ()) -> Floats:
        """Class probabilities of one normalised window.

        Args:
            image: (x, y, z).
            average: also look at the window mirrored left to right and in the other sizes of `spec.views`.
            marks: the corrections in it. With them the image is looked at in one view, so that the answer comes soon.

        Returns:
            (class, x, y, z).
        """
        guides = np.zeros((len(self.values) if self.spec.clicks else 0, *image.shape), np.float32)
        whole = torch.from_numpy(np.concatenate([image[None], guides]))[None].to(self.device)
        if marks:
            return self._corrected(whole, marks)
        sizes = self.spec.views if average else [1.0]
        seen = [self._view(whole, size, average) for size in sizes]
        return torch.stack(seen).mean(0)[0].cpu().numpy()

    def _corrected(self, image: torch.Tensor, marks: Sequence[Mark]) -> Floats:
        """Class probabilities (class, x, y, z) that heed marks; `image` has empty channels for them."""
        shape = image.shape[2:]
        guide = channels(by_class(marks), len(self.values), shape, self.spec.clicks)
        marked = _padded(torch.cat([image[:, :1], torch.from_numpy(guide)[None].to(image)], 1))
        with features_of(self._network, len(self.values)) as seen:
            logits, alone = self._network(torch.cat([marked, _padded(image)])).float().split(1)
        if seen:
            logits = steer(logits, seen[-1][:1].float(), marked[:, 1:])
        told = [maps[0, :, : shape[0], : shape[1], : shape[2]].cpu().numpy() for maps in (logits, alone)]
        return softmax(reach(told[0], told[1], marks), 0)

    def _view(self, image: torch.Tensor, size: float, mirror: bool) -> torch.Tensor:
        """Class probabilities (1, class, x, y, z) of an image looked at in another size, averaged with its mirror's."""
        shape = image.shape[2:]
        resized = image if size == 1 else _resize(image, [max(STRIDE, round(n * size)) for n in shape])
        inner = resized.shape[2:]
        padded = _padded(resized)
        total = torch.softmax(self._network(padded).float(), 1)
        if mirror:
            total = (total + torch.softmax(self._network(padded.flip(2)).float(), 1).flip(2)) / 2
        total = total[..., : inner[0], : inner[1], : inner[2]]
        return total if size == 1 else _resize(total, shape)


def _padded(image: torch.Tensor) -> torch.Tensor:
    """An image whose sides are multiples of STRIDE, with zeros at their ends.

    One of them is twice that at the least: the lowest level would be a single voxel, which has no deviation.
    """
    more = [-n % STRIDE for n in image.shape[2:]]
    if all(n + m == STRIDE for n, m in zip(image.shape[2:], more, strict=True)):
        more[-1] += STRIDE
    return pad(image, [p for m in reversed(more) for p in (0, m)])


def _resize(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return interpolate(image, size=tuple(shape), mode="trilinear", align_corners=True)

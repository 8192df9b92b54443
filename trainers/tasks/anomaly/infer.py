"""Looking for anomalies in an image of any size and orientation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from trainers.data.sets import Entry, Sample
from trainers.data.volumes import Volume, VolumeError, same_grid
from trainers.devices import pick_device
from trainers.monitor import Monitor
from trainers.preprocess import CanonicalGrid, Window
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable, ModelSpec, part_file
from trainers.tasks.anomaly.calibration import Calibration, Worst
from trainers.tasks.anomaly.findings import Finding, find
from trainers.tasks.anomaly.methods import MEDGAN, open_method
from trainers.tasks.synthesis.images import SynthesisPreprocess, prepare_sample

Floats = npt.NDArray[np.float32]
BATCH = 16
AT_ONCE = 2**25
"""Voxels of images that are read before they are looked at, channels together: 128 MiB, or one image if it has more."""
FALSE_POSITIVES = 0.05
SEEN = 0.8  # of each axis of an image, at least, or the clinician is told
PICTURE = [[0, -1], [1, -1], [2, 1]]  # nibabel's orientation of a picture: x to the right of the screen, y down
NO_PLACE = "The image is larger than what the model learned from: only its middle, {seen} mm, was looked at."
NO_PROMISE = "{healthy} healthy patients cannot promise a false-positive rate of {asked:g}; it is {least:.2g}."
UNLIKE = "The image is unlike all {healthy} healthy ones: it may be of another organ, contrast or scanner."


@dataclass(frozen=True)
class Detection:
    """What was found in an image.

    Attributes:
        heat: float32 on the image's own grid, 0 where the model did not look; higher is less usual.
        score: of the whole image. chance: share of healthy patients who score as high, at most.
        threshold: heat that at most `false_positives` of healthy patients have anywhere.
        peaks: the largest heat of each healthy patient, ascending. findings: connected places above the threshold.
        warnings: plain sentences for the clinician.
    """

    heat: Volume
    score: float
    chance: float
    false_positives: float
    threshold: float
    peaks: tuple[float, ...]
    findings: list[Finding]
    warnings: list[str]


class Detector:
    """A model of healthy images that is ready to run. Safe to call from several threads."""

    def __init__(self, model_dir: Path | str, device: str = "cpu", method: str = MEDGAN) -> None:
        """Loads one method of `model_dir`. Raises ModelNotAvailable if its spec or weights cannot be used."""
        spec, folder = ModelSpec.load(model_dir), Path(model_dir)
        described = spec.network if method == MEDGAN else spec.parts.get(method)
        if spec.task != "anomaly" or described is None:
            raise ModelNotAvailable(f"{spec.name} has no method {method!r} that finds anomalies.")
        weights = folder / WEIGHTS_FILE if method == MEDGAN else part_file(folder, method)
        arguments = {key: value for key, value in described.items() if key != "name"}
        self._set(spec, open_method(method, arguments, weights), pick_device(device), method)

    @classmethod
    def from_network(cls, spec: ModelSpec, network: nn.Module, method: str = MEDGAN) -> Detector:
        """Wraps a method that is in memory."""
        detector = cls.__new__(cls)
        detector._set(spec, network, torch.device("cpu"), method)
        return detector

    def _set(self, spec: ModelSpec, network: nn.Module, device: torch.device, method: str) -> None:
        self.spec, self.method, self.device = spec, method, device
        self.settings = settings_of(spec)
        self.network = network.to(device).eval()
        known = spec.calibration.get(method)
        self.scores = Calibration.of(known["scores"]) if known else None
        self.peaks = Calibration.of(known["peaks"]) if known else None

    def __call__(
        self,
        images: Mapping[str, Volume],
        false_positives: float = FALSE_POSITIVES,
        refine: bool = False,
        monitor: Monitor = Monitor(),
    ) -> Detection:
        """Looks for anomalies.

        Args:
            images: by the names of the spec's `inputs`, on one grid.
            false_positives: share of healthy patients who may have a finding; a rate that so few cannot promise is
                raised to the least that they can, with a warning.
            refine: in-paints hot places and looks again; of the default method.
            monitor: hears `progress`; may cancel.

        Raises:
            VolumeError: images of different grids, or several slices for a model of pictures. CalibrationError: a rate
                that is none. ModelNotAvailable: the model was not calibrated.
        """
        scores, peaks = self.calibrations()
        promised = false_positives if false_positives <= 0 else max(false_positives, peaks.least)
        threshold = peaks.threshold(promised)
        monitor.check()
        first, sample, order = sample_of(self.spec, images)
        monitor.report(progress=0.1)
        ((heat, score),) = self.look([sample], threshold if refine else None)
        monitor.report(progress=0.9)
        own = heat if order is None else _back(heat, order)
        volume = Volume(np.ascontiguousarray(own), first.affine)
        chance = scores.chance(score)
        found = find(volume, threshold, peaks)
        warnings = self._warnings(first, score, scores)
        if promised > false_positives:
            warnings.append(NO_PROMISE.format(healthy=len(peaks.scores), asked=false_positives, least=promised))
        return Detection(volume, score, chance, promised, threshold, peaks.scores, found, warnings)

    def calibrations(self) -> tuple[Calibration, Calibration]:
        """Of scores and of peaks. Raises ModelNotAvailable if there are none."""
        if self.scores is None or self.peaks is None:
            raise ModelNotAvailable(f"{self.spec.name} was not calibrated with healthy patients.")
        return self.scores, self.peaks

    def look(self, samples: Sequence[Sample], hot: float | None = None) -> list[tuple[Floats, float]]:
        """Heat on each sample's own voxels (*size), and the score of each.

        Args:
            samples: as `trainers.data` reads them; a label map, around which training images may be cut, is not used.
            hot: heat above which places are in-painted and looked at again; None looks once.
        """
        found = []
        for start in range(0, len(samples), BATCH):
            part = samples[start : start + BATCH]
            windows = np.stack([prepare_sample(replace(sample, label=None), self.settings)[0] for sample in part])
            for sample, heat, score in zip(part, *self.read(windows, hot), strict=True):
                found.append((self._paste(heat, sample), score))
        return found

    def worst(self, entries: Sequence[Entry]) -> Worst:
        """The score and the largest heat of each patient, in the order in which they come; images are read in turn.

        Of several images of a patient the highest values count.
        """
        found: Worst = {}
        looked = (one for samples in read_batches(entries) for one in self.look(samples))
        for entry, (heat, score) in zip(entries, looked, strict=True):
            known = found.get(entry.patient, (score, float(heat.max())))
            found[entry.patient] = max(score, known[0]), max(float(heat.max()), known[1])
        return found

    @torch.inference_mode()
    def read(self, windows: Floats, hot: float | None = None) -> tuple[list[Floats], list[float]]:
        """Heat (*window) and score of each prepared image (n, channel, *window)."""
        heats: list[Floats] = []
        scores: list[float] = []
        for part in torch.from_numpy(windows).split(BATCH):
            image = part.to(self.device)
            heat, score = self.network(image)
            if hot is not None:
                heat = self.network.refined(image, heat >= hot)  # type: ignore[operator]
            heats += list(heat[:, 0].float().cpu().numpy())
            scores += score.float().cpu().tolist()
        return heats, scores

    def _paste(self, heat: Floats, sample: Sample) -> Floats:
        """Heat of a window on the sample's own voxels."""
        size = sample.image.shape[1:]
        if not self.settings.spacing:
            if heat.shape == size:
                return heat
            zoom = [n / w for n, w in zip(size, heat.shape, strict=True)]
            return np.asarray(ndimage.zoom(heat, zoom, order=1, grid_mode=True, mode="nearest"), np.float32)
        affine = np.eye(4) if sample.affine is None else sample.affine
        grid = CanonicalGrid(Volume(sample.image[0], affine), self.settings.spacing)
        whole = grid.oriented_zeros(np.float32)
        for block, place in grid.paste(heat[None], middle_window(grid, self.settings.window)):
            whole[place] = block[0]
        return grid.to_native(whole)

    def _warnings(self, first: Volume, score: float, scores: Calibration) -> list[str]:
        told = []
        if self.settings.spacing:
            grid, window = CanonicalGrid(first, self.settings.spacing), self.settings.window
            if any(w < SEEN * n for w, n in zip(window, grid.shape, strict=True)):
                seen = " x ".join(f"{w * s:g}" for w, s in zip(window, self.settings.spacing, strict=True))
                told.append(NO_PLACE.format(seen=seen))
        known = scores.scores
        if score > known[-1] + 2 * (known[-1] - known[len(known) // 2]):
            told.append(UNLIKE.format(healthy=len(known)))
        return told


def read_batches(entries: Iterable[Entry]) -> Iterator[list[Sample]]:
    """Reads images in turn, `BATCH` at a time, or fewer when they come to `AT_ONCE` voxels."""
    samples: list[Sample] = []
    for entry in entries:
        samples.append(entry.read())
        if len(samples) == BATCH or sum(sample.image.size for sample in samples) >= AT_ONCE:
            yield samples
            samples = []
    if samples:
        yield samples


def sample_of(spec: ModelSpec, images: Mapping[str, Volume]) -> tuple[Volume, Sample, npt.NDArray[np.float64] | None]:
    """The first of a model's images, all of them as a sample, and how a picture was turned.

    Raises:
        VolumeError: images of different grids, or several slices for a model of pictures.
    """
    names = [entry["name"] for entry in spec.inputs] or ["image"]
    volumes = [images[name] for name in names]
    first = volumes[0]
    for name, other in zip(names, volumes, strict=True):
        if not same_grid(first, other):
            raise VolumeError("wrong_geometry", f"{name!r} is on another grid than {names[0]!r}.", "Resample it.")
    if spec.dimensions == 3:
        channels = np.stack([np.asarray(v.array, np.float32) for v in volumes])
        return first, Sample(channels, None, first.affine), None
    thin = int(np.argmin(first.array.shape))
    if first.array.shape[thin] != 1:
        hint = "Send one slice, or choose a model of volumes."
        size = " x ".join(map(str, first.array.shape))
        raise VolumeError("cannot_process", f"{spec.name} looks at one picture, not {size} voxels.", hint)
    order = _screen(first.affine, thin)
    flat = [orientations.apply_orientation(np.asarray(v.array, np.float32), order)[..., 0] for v in volumes]
    return first, Sample(np.stack(flat)), order


def settings_of(spec: ModelSpec) -> SynthesisPreprocess:
    """How a model's images are prepared."""
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.preprocess.items()}
    return SynthesisPreprocess(**settings)


def middle_window(grid: CanonicalGrid, size: Sequence[int]) -> Window:
    """The window around the middle of an image, where `prepare_sample` looks."""
    return Window.around((np.array(grid.shape) - 1) / 2, size)


def _screen(affine: npt.NDArray[np.float64], thin: int) -> npt.NDArray[np.float64]:
    """How to turn a slice so that x goes right and y down on the screen, and its thin axis is the last."""
    own = orientations.io_orientation(affine)
    if int(own[thin, 0]) != 2:  # not axial: as it is, with the thin axis last
        kept = [axis for axis in range(3) if axis != thin]
        own = np.zeros((3, 2))
        own[[*kept, thin]] = PICTURE
    return np.asarray(orientations.ornt_transform(own, np.array(PICTURE, float)), np.float64)


def _back(heat: Floats, order: npt.NDArray[np.float64]) -> Floats:
    """A picture's heat as the volume that it came from lies."""
    inverse = orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]], float), order)
    shape = orientations.apply_orientation(heat[..., None], inverse)
    return np.asarray(shape, np.float32)

"""Measuring a reconstruction model: clean volumes are measured as its spec says, reconstructed, and compared.

Both ends of the slider, L1 and adversarial weights, stand beside what one has without a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
import torch

from trainers.data.cases import CasesError
from trainers.data.sets import Entry, Sample
from trainers.data.volumes import VolumeError
from trainers.metrics.intervals import Estimate, bootstrap_mean
from trainers.metrics.reconstruction import psnr, ssim, texture
from trainers.monitor import Monitor
from trainers.networks.reconstruction import Reconstruction, expected_error
from trainers.tasks.reconstruction.infer import Reconstructor, order_of
from trainers.tasks.reconstruction.measurement import Measured, Measurement, Scan
from trainers.tasks.reconstruction.run import GAN
from trainers.tasks.reconstruction.task import as_images, shown

Floats = npt.NDArray[np.float32]
METRICS: dict[str, Callable[[Floats, Floats], float]] = {"psnr": psnr, "ssim": ssim, "texture": texture}
CONTRADICTION, CALIBRATION, ERROR = "contradiction", "doubt_correlation", "mae"
LOWER = (CONTRADICTION, ERROR)
"""Figures of which less is better."""


@dataclass(frozen=True)
class Report:
    """Measurements of one model.

    Attributes:
        per_case: `{"id", "seconds", method: {metric: value}}` of each volume; methods are the plain inversions by name,
            from the weakest to the strongest, then `l1` and, if there is one, `gan`. Beside METRICS, of `l1` and `gan`:
            `contradiction`, the relative size of what they contradict, and `doubt_correlation`, between the error and
            what the network expected of it. Where the unit is the same for all images, of all methods: `mae`, the mean
            absolute error in it.
        plain: names of the plain inversions.
        variant: of the measurement, e.g. `4x`. others: reports of its other variants.
    """

    per_case: list[dict[str, Any]]
    plain: list[str]
    variant: str = ""
    others: tuple[Report, ...] = ()

    @property
    def methods(self) -> list[str]:
        """All methods, the plain ones first."""
        return [*self.plain, *(m for m in ("l1", GAN) if m in self.per_case[0])]

    def values(self, method: str, metric: str) -> list[float]:
        """A figure of each case."""
        return [case[method][metric] for case in self.per_case if metric in case[method]]

    def mean(self, method: str, metric: str) -> float:
        """A figure's mean over cases."""
        return float(np.mean(self.values(method, metric)))

    def estimate(self, method: str, metric: str) -> Estimate:
        """A figure's mean with its 95 % bootstrap interval over cases; of a single one there is none (NaN)."""
        return _estimate(self.values(method, metric))

    @property
    def gain(self) -> Estimate:
        """PSNR of the L1 weights above that of the strongest plain inversion of the same case, dB."""
        pairs = zip(self.values("l1", "psnr"), self.values(self.plain[-1], "psnr"), strict=True)
        return _estimate([mine - plain for mine, plain in pairs])

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean: means with 95 % bootstrap intervals over volumes."""
        methods = {
            method: {metric: self.estimate(method, metric).as_dict() for metric in self.per_case[0][method]}
            for method in self.methods
        }
        return {
            "variant": self.variant, "cases": len(self.per_case), "methods": methods,
            "psnr_gain_db": self.gain.as_dict(),
            "seconds_per_case": float(np.median([case["seconds"] for case in self.per_case])),
            "per_case": self.per_case, "variants": {other.variant: other.as_dict() for other in self.others},
        }  # fmt: skip


def evaluate(
    reconstructor: Reconstructor,
    entries: Sequence[Entry],
    monitor: Monitor = Monitor(),
    seed: int = 0,
    channels: Sequence[str] = (),
) -> Report:
    """Measures a model on clean volumes, one patient each.

    Args:
        reconstructor: the model.
        entries: at least one.
        monitor: hears `progress`; may cancel.
        seed: of masks and noise.
        channels: of the data set; without them the measurement's own, in its order.

    Raises:
        VolumeError: naming it, a volume cannot be read, is none, or too small or flat to measure on.
    """
    variants = reconstructor.measurement.variants()
    cases: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for number, (entry, scan) in enumerate(scans(entries, reconstructor.measurement, channels)):
        for name, measurement in variants.items():
            monitor.check()
            cases[name].append({"id": entry.id, **_row(reconstructor, measurement, entry, scan, seed + number)})
        monitor.report(progress=(number + 1) / len(entries))
    first, *others = (_report(name, rows) for name, rows in cases.items())
    return replace(first, others=tuple(others))


def _report(variant: str, cases: list[dict[str, Any]]) -> Report:
    plain = [name for name in cases[0] if name not in ("id", "seconds", "l1", GAN)]
    return Report(cases, plain, variant)


def scans(
    entries: Iterable[Entry], measurement: Measurement, channels: Sequence[str] = ()
) -> Iterator[tuple[Entry, Scan]]:
    """Entries with the channels that a measurement is about, oriented as they are when a model is served.

    Raises:
        CasesError: the data set lacks a channel. VolumeError: a picture, which has no third axis, a volume without
            contrast, or with values that there are not in images of this kind.
    """
    chosen = channels_of(measurement, channels)
    for entry in entries:
        yield entry, scan_of(entry.read(), entry.id, measurement, chosen)


def scan_of(sample: Sample, name: str, measurement: Measurement, chosen: Sequence[int]) -> Scan:
    """The chosen channels of an image, see `scans`."""
    if sample.image.ndim != 4:
        raise VolumeError("cannot_process", f"{name} is a picture; reconstruction needs volumes.")
    array = np.asarray(sample.image[list(chosen)], np.float32)
    if any(channel.min() == channel.max() for channel in array):
        raise VolumeError("cannot_process", f"{name} has no contrast.")
    spacing = np.ones(3)
    if sample.affine is not None:
        order = order_of(sample.affine, measurement.thick_axis)
        array = np.stack([orientations.apply_orientation(channel, order) for channel in array])
        spacing[order[:, 0].astype(int)] = np.linalg.norm(sample.affine[:3, :3], axis=0)
    return Scan(np.ascontiguousarray(array), (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def prepared(name: str, scan: Scan, measurement: Measurement, seed: int = 0) -> Floats:
    """A scan in the network's numbers. Raises VolumeError, naming the entry."""
    try:
        return measurement.prepare(scan, seed)
    except VolumeError as error:
        raise VolumeError(error.code, f"{name}: {error.message}", error.hint) from error


def channels_of(measurement: Measurement, channels: Sequence[str]) -> list[int]:
    """Which channels of a data set a measurement is about; a set of a single one needs no name for it."""
    wanted = measurement.sequences
    if len(wanted) < 2 and len(channels) < 2:
        return [0]
    if not channels:
        return list(range(len(wanted)))
    missing = [name for name in wanted if name not in channels]
    if missing:
        raise CasesError(f"The data have no {', '.join(missing)}. They have {', '.join(channels)}.")
    return [list(channels).index(name) for name in wanted] or [0]


def simulated(measurement: Measurement, entry: Entry, scan: Scan, seed: int) -> tuple[torch.Tensor, Measured]:
    """The truth, (b, 1, *size), and what is measured of it, as a model is served it.

    Raises:
        VolumeError: naming the entry, values that there are not in images of this kind.
    """
    images = as_images(prepared(entry.id, scan, measurement, seed), measurement)
    return measurement.as_served(images[:, :1], measurement.measure(images, seed))


def _row(reconstructor: Reconstructor, measurement: Measurement, entry: Entry, scan: Scan, seed: int) -> dict[str, Any]:
    """The figures of a volume. Raises VolumeError, naming it, if it is too small or has no contrast where it counts."""
    try:
        return _measure(reconstructor, measurement, entry, scan, seed)
    except VolumeError:
        raise
    except ValueError as error:
        hint = "Leave it out, or give a larger part of it."
        raise VolumeError("cannot_process", f"{entry.id}: {error}", hint) from error


def _measure(
    reconstructor: Reconstructor, measurement: Measurement, entry: Entry, scan: Scan, seed: int
) -> dict[str, Any]:
    truth, measured = simulated(measurement, entry, scan, seed)
    row: dict[str, Any] = {
        name: _figures(image, truth, measurement) for name, image in measurement.plain(measured).items()
    }
    started = time.perf_counter()
    views = reconstructor.looks_often(measured[measurement.given][:, :1].numel())
    row["l1"] = _network_figures(
        reconstructor.run("l1", measured, measurement.turns, views), truth, measured, measurement
    )
    row["seconds"] = time.perf_counter() - started
    if GAN in reconstructor.names:
        row[GAN] = _network_figures(
            reconstructor.run(GAN, measured, measurement.turns, views=False), truth, measured, measurement
        )
    return row


def _network_figures(
    found: Reconstruction, truth: torch.Tensor, measured: Measured, measurement: Measurement
) -> dict[str, float]:
    image = shown(found.image)
    error, doubt = (image - truth).abs().flatten(), expected_error(found.log_error).flatten()
    figures = _figures(image, truth, measurement)
    if measurement.exact:
        residual = measurement.residual(found.image, measured)
        figures[CONTRADICTION] = float(residual.norm() / measured[measurement.given].norm())
    if min(error.std(), doubt.std()) > 0:
        figures[CALIBRATION] = float(torch.corrcoef(torch.stack([error, doubt]))[0, 1])
    return figures


def _figures(image: torch.Tensor, truth: torch.Tensor, measurement: Measurement) -> dict[str, float]:
    figures = {name: metric(volume_of(image), volume_of(truth)) for name, metric in METRICS.items()}
    if measurement.target:
        figures[ERROR] = float((image - truth).abs().mean()) * measurement.target.scale
    return figures


def volume_of(images: torch.Tensor) -> Floats:
    """What `as_images` made of a volume, as a volume again."""
    array: Floats = images.numpy()
    return array[0, 0] if array.ndim == 5 else np.moveaxis(array[:, 0], 0, 2)


def _estimate(values: list[float]) -> Estimate:
    return bootstrap_mean(np.array(values)) if len(values) > 1 else Estimate(values[0], np.nan, np.nan)

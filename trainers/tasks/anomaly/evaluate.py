"""Measuring an anomaly model on healthy and abnormal images, all its methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.sets import Entry
from trainers.metrics.anomaly import Array, image_figures
from trainers.metrics.intervals import Estimate, bootstrap_mean
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.calibration import Calibration, CalibrationError
from trainers.tasks.anomaly.infer import FALSE_POSITIVES, Detector, read_batches
from trainers.tasks.anomaly.methods import MEDGAN, METHODS
from trainers.tasks.anomaly.voxels import Marked, voxel_figures

RATES = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Looked:
    """What one method told of all images: scores, the largest heat of each healthy image, and maps of marked ones."""

    normal: Array
    abnormal: Array
    peaks: Array
    marked: Marked


def methods_of(spec: ModelSpec) -> list[str]:
    """The methods that a model has weights for, its own first."""
    return [name for name in METHODS if name == MEDGAN or name in spec.parts]


def evaluate(
    folder: Path,
    normal: Sequence[Entry],
    abnormal: Sequence[Entry],
    monitor: Monitor = Monitor(),
    device: str = "cpu",
    replicates: int = 1000,
) -> dict[str, Any]:
    """Measures all methods of a model.

    Args:
        folder: the model's.
        normal: healthy images that it did not learn from.
        abnormal: others; a sample with a label map tells where it is abnormal.
        monitor: hears `progress`; may cancel.
        device: see `trainers.devices.pick_device`.
        replicates: of the bootstrap.

    Returns:
        JSON: `normal`, `abnormal`, `marked` counts; for each of `methods` `images` (AUROC, AUPRC, sensitivity at 95 %
        specificity), `calibration` (false-positive rates promised and found), and `voxels` where masks are known. Each
        figure is `{"value", "low", "high"}`.

    Raises:
        ValueError: fewer than 2 normal or abnormal images.
    """
    spec = ModelSpec.load(folder)
    names, found, marked = methods_of(spec), {}, 0
    for number, name in enumerate(names):
        detector = Detector(folder, device, name)
        looked = look(detector, normal, abnormal, monitor, (number, len(names)))
        marked = len(looked.marked)
        found[name] = {
            "images": _plain(image_figures(looked.normal, looked.abnormal, replicates)),
            "calibration": promises(detector, looked),
            **({"voxels": voxel_figures(looked.marked, threshold_of(detector), replicates)} if marked else {}),
        }
    counts = {"normal": len(normal), "abnormal": len(abnormal), "marked": marked}
    return {"model": spec.name, "version": spec.version, **counts, "methods": found}


def look(
    detector: Detector,
    normal: Sequence[Entry],
    abnormal: Sequence[Entry],
    monitor: Monitor = Monitor(),
    turn: tuple[int, int] = (0, 1),
) -> Looked:
    """Lets one method look at all images."""
    scores: tuple[list[float], list[float]] = ([], [])
    peaks: list[float] = []
    marked, done, total = Marked(), 0, max(1, len(normal) + len(abnormal))
    for kind, entries in enumerate((normal, abnormal)):
        for samples in read_batches(entries):
            monitor.check()
            for sample, (heat, score) in zip(samples, detector.look(samples), strict=True):
                scores[kind].append(score)
                if kind == 0:
                    peaks.append(float(heat.max()))
                elif sample.label is not None and sample.label.any():
                    marked.add(heat, sample.label)
            done += len(samples)
            monitor.report(progress=(turn[0] + done / total) / turn[1])
    return Looked(np.array(scores[0]), np.array(scores[1]), np.array(peaks), marked)


def promises(detector: Detector, looked: Looked) -> list[dict[str, Any]]:
    """The false-positive rates that are promised for images and for maps, and those of unseen healthy images."""
    rows = []
    for kind, calibration, values in (
        ("score", detector.scores, looked.normal), ("heat", detector.peaks, looked.peaks),
    ):  # fmt: skip
        for rate in RATES:
            threshold = _threshold(calibration, rate)
            if threshold is not None:
                rate_found = bootstrap_mean((values > threshold).astype(float))
                rows.append({"of": kind, "promised": rate, "found": rate_found.as_dict()})
    return rows


def threshold_of(detector: Detector, rate: float = FALSE_POSITIVES) -> float | None:
    """The heat of a finding, at the usual false-positive rate or the lowest that the calibration can promise."""
    return next((t for r in (rate, *RATES) if (t := _threshold(detector.peaks, r)) is not None), None)


def _threshold(calibration: Calibration | None, rate: float) -> float | None:
    try:
        return calibration.threshold(rate) if calibration else None
    except CalibrationError:
        return None


def _plain(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_dict() for name, estimate in figures.items()}

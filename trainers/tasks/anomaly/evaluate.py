"""Measuring an anomaly model on healthy and abnormal images, all its methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.sets import Entry
from trainers.metrics.anomaly import Array, auroc, dice, image_figures
from trainers.metrics.intervals import Estimate, bootstrap_mean
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.calibration import Calibration, CalibrationError
from trainers.tasks.anomaly.infer import FALSE_POSITIVES, Detector
from trainers.tasks.anomaly.methods import MEDGAN, METHODS

RATES = (0.05, 0.1, 0.2)
CUTS = 60
BATCH = 64


@dataclass(frozen=True)
class Marked:
    """Maps of abnormal images and where they are abnormal: (*size) each, in order."""

    heats: list[Array] = field(default_factory=list)
    masks: list[Array] = field(default_factory=list)

    def add(self, heat: Array, mask: Array) -> None:
        """Takes one more."""
        self.heats.append(heat)
        self.masks.append(mask.astype(bool))


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
        marked = len(looked.marked.heats)
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
        for start in range(0, len(entries), BATCH):
            monitor.check()
            samples = [entry.read() for entry in entries[start : start + BATCH]]
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


def voxel_figures(marked: Marked, threshold: float | None, replicates: int = 1000) -> dict[str, Any]:
    """AUROC of voxels, the best Dice that one threshold for all images reaches, and the Dice of the calibrated one.

    Args:
        marked: maps and masks.
        threshold: the calibrated one; None leaves its Dice out.
        replicates: of the bootstrap over images.
    """
    pairs = list(zip(marked.heats, marked.masks, strict=True))
    areas = np.array([auroc(heat[~mask], heat[mask]) for heat, mask in pairs])
    pool = np.concatenate([heat.ravel() for heat in marked.heats])
    cuts = np.unique(np.quantile(pool, 1 - np.geomspace(1e-5, 0.9, CUTS)))
    scores = np.array([[dice(heat > cut, mask) for heat, mask in pairs] for cut in cuts])
    best = int(scores.mean(1).argmax())
    found = {"auroc": areas, "best_dice": scores[best]}
    if threshold is not None:
        found["calibrated_dice"] = np.array([dice(heat >= threshold, mask) for heat, mask in pairs])
    told = {name: _mean(values, replicates).as_dict() for name, values in found.items()}
    return {**told, "best_threshold": float(cuts[best]), "threshold": threshold}


def _mean(values: Array, replicates: int) -> Estimate:
    if len(values) < 2:
        return Estimate(float(values.mean()), float("nan"), float("nan"))
    return bootstrap_mean(values, replicates)


def _threshold(calibration: Calibration | None, rate: float) -> float | None:
    try:
        return calibration.threshold(rate) if calibration else None
    except CalibrationError:
        return None


def _plain(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_dict() for name, estimate in figures.items()}

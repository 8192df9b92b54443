"""A model of healthy images at home: what is usual at one site, from studies that its clinicians marked as normal."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.card import write_card
from trainers.data.cases import CasesError, hash_fraction
from trainers.data.sets import Entry
from trainers.metrics.anomaly import auroc
from trainers.monitor import Monitor
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights
from trainers.tasks.anomaly.calibration import Worst, calibration_of
from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.infer import Detector, settings_of
from trainers.tasks.anomaly.methods import MEDGAN
from trainers.tasks.anomaly.methods.restoration import Restoration
from trainers.tasks.synthesis.images import prepare_sample

FEWEST = 10  # normal patients
FOLDS = 5
TRUST = 20  # normal patients after which half of what is usual comes from here
RATE = 0.1  # at which false positives are told


@dataclass(frozen=True)
class Adapted:
    """What an adaptation did.

    Attributes:
        normal, abnormal: patients it was done with, and measured with.
        false_positives_before: share of the normal patients whom the earlier calibration would have called unusual at a
            promised rate of `RATE`. Afterwards it is what is promised, for patients like them.
        auroc_before, auroc_after: of normal against abnormal patients; None without two of the latter.
    """

    normal: int
    abnormal: int
    false_positives_before: float
    auroc_before: float | None
    auroc_after: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return asdict(self)


def adapt(
    model_dir: Path | str,
    out: Path,
    normal: Sequence[Entry],
    abnormal: Sequence[Entry] = (),
    monitor: Monitor = Monitor(),
) -> Adapted:
    """Learns what is usual in images of one site and calibrates anew; networks stay as they are.

    The scores that calibrate are of patients in whose fold the model was adapted with all others, so that they are
    scores of unseen patients: Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence
    2015.

    Args:
        model_dir: the version to start from.
        out: folder for the new one; has weights, spec and card afterwards.
        normal: studies marked as normal, of at least `FEWEST` patients.
        abnormal: studies marked as abnormal; only measured on.
        monitor: hears `step` and `steps`; may cancel.

    Raises:
        CasesError: too few normal patients.
    """
    patients = sorted({entry.patient for entry in normal}, key=hash_fraction)
    if len(patients) < FEWEST:
        raise CasesError(f"{len(patients)} patients are marked as normal; at least {FEWEST} are needed.")
    detector, spec = Detector(model_dir), ModelSpec.load(model_dir)
    windows = [prepare_sample(entry.read(), settings_of(spec))[0] for entry in normal]
    fold_of = {patient: place % FOLDS for place, patient in enumerate(patients)}
    unseen: Worst = {}
    for fold in range(FOLDS):
        monitor.check()
        monitor.report(step=fold, steps=FOLDS + 1)
        outside = [w for w, entry in zip(windows, normal, strict=True) if fold_of[entry.patient] != fold]
        inside = [entry for entry in normal if fold_of[entry.patient] == fold]
        unseen |= _adapted(detector, spec, outside).worst(inside)
    final = _adapted(detector, spec, windows)
    result = _compare(detector, final, normal, abnormal, unseen)
    _write(final, spec, out, {MEDGAN: calibration_of(unseen)}, result)
    monitor.report(step=FOLDS + 1, steps=FOLDS + 1)
    return result


def _adapted(detector: Detector, spec: ModelSpec, windows: Sequence[Floats]) -> Detector:
    """A copy that takes these images for usual, too."""
    network = copy.deepcopy(detector.network)
    assert isinstance(network, Restoration)
    network.recentre(np.stack(windows), len(windows) / (len(windows) + TRUST))
    return Detector.from_network(spec, network)


def _compare(
    before: Detector, after: Detector, normal: Sequence[Entry], abnormal: Sequence[Entry], unseen: Worst
) -> Adapted:
    """What changed; afterwards normal patients have the scores that they had while they were not seen."""
    earlier, ill = before.worst(normal), [detector.worst(abnormal) for detector in (before, after)]
    threshold = before.calibrations()[0].threshold(RATE)
    false_positives = float(np.mean([score > threshold for score, _ in earlier.values()]))
    figures = [_auroc(known, found) for known, found in zip((earlier, unseen), ill, strict=True)]
    return Adapted(len(earlier), len(ill[0]), false_positives, figures[0], figures[1])


def _auroc(normal: Worst, abnormal: Worst) -> float | None:
    scores = [np.array([score for score, _ in part.values()]) for part in (normal, abnormal)]
    return round(auroc(*scores), 4) if len(abnormal) > 1 else None


def _write(
    detector: Detector, spec: ModelSpec, out: Path, calibration: dict[str, dict[str, list[float]]], result: Adapted
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_weights(detector.network.cpu(), out / WEIGHTS_FILE, half=False)
    training = {**spec.training, "finetuned": {"command": "calibrated with studies of this server", **result.as_dict()}}
    made = spec.replace(calibration=calibration, parts={}, metrics=_metrics(result), training=training)
    made.save(out)
    write_card(made, out)


def _metrics(result: Adapted) -> dict[str, dict[str, Any]]:
    if result.auroc_after is None:
        return {}
    where = f"this server's {result.normal} normal and {result.abnormal} abnormal patients"
    return {"auroc": {"value": result.auroc_after, "higher_is_better": True, "note": where}}

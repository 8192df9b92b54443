"""A model of healthy images at home: what is usual at one site, from studies that its clinicians marked as normal."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.card import write_card
from trainers.data.cases import CasesError, hash_fraction
from trainers.data.sets import Entry, Sample
from trainers.metrics.anomaly import auroc
from trainers.monitor import Monitor
from trainers.spec import WEIGHTS_FILE, ModelSpec, save_weights
from trainers.tasks.anomaly.calibration import Calibration
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
    samples = [entry.read() for entry in normal]
    ill = [entry.read() for entry in abnormal]
    fold_of = {patient: place % FOLDS for place, patient in enumerate(patients)}
    folds = np.array([fold_of[entry.patient] for entry in normal])
    scores, peaks = np.zeros(len(samples)), np.zeros(len(samples))
    for fold in range(FOLDS):
        monitor.check()
        monitor.report(step=fold, steps=FOLDS + 1)
        inside = np.flatnonzero(folds == fold)
        other = [samples[i] for i in np.flatnonzero(folds != fold)]
        looked = _adapted(detector, spec, other).look([samples[i] for i in inside])
        peaks[inside], scores[inside] = [float(h.max()) for h, _ in looked], [s for _, s in looked]
    final = _adapted(detector, spec, samples)
    known = [e.patient for e in normal]
    before, after = (_compare(d, samples, ill) for d in (detector, final))
    own = _worst(scores, known)
    result = Adapted(
        len(patients), len({e.patient for e in abnormal}), _exceeding(detector, before[0], known),
        _auroc(_worst(before[0], known), before[1]), _auroc(own, after[1]),
    )  # fmt: skip
    calibration = {MEDGAN: {"scores": _ascending(own), "peaks": _ascending(_worst(peaks, known))}}
    _write(final, spec, out, calibration, result)
    monitor.report(step=FOLDS + 1, steps=FOLDS + 1)
    return result


def _adapted(detector: Detector, spec: ModelSpec, samples: Sequence[Sample]) -> Detector:
    """A copy that takes these images for usual, too."""
    network = copy.deepcopy(detector.network)
    assert isinstance(network, Restoration)
    windows = np.stack([prepare_sample(sample, settings_of(spec))[0] for sample in samples])
    network.recentre(windows, len(samples) / (len(samples) + TRUST))
    return Detector.from_network(spec, network)


def _compare(
    detector: Detector, normal: Sequence[Sample], abnormal: Sequence[Sample]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scores of both kinds."""
    one, two = (np.array([score for _, score in detector.look(part)]) for part in (normal, abnormal))
    return one, two


def _worst(values: npt.NDArray[np.float64], patients: Sequence[str]) -> npt.NDArray[np.float64]:
    """The highest value of each patient."""
    found: dict[str, float] = {}
    for value, patient in zip(values, patients, strict=True):
        found[patient] = max(float(value), found.get(patient, float(value)))
    return np.array(list(found.values()))


def _exceeding(detector: Detector, scores: npt.NDArray[np.float64], patients: Sequence[str]) -> float:
    calibration, _ = detector.calibrations()
    return float((_worst(scores, patients) > calibration.threshold(RATE)).mean())


def _auroc(normal: npt.NDArray[np.float64], abnormal: npt.NDArray[np.float64]) -> float | None:
    return round(auroc(normal, abnormal), 4) if len(abnormal) > 1 else None


def _ascending(values: npt.NDArray[np.float64]) -> list[float]:
    found: list[float] = Calibration.of(values).as_dict()["scores"]
    return found


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

"""Anomaly detection: a heat map of what is unusual, and how seldom it is seen in healthy patients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from monailabel_app.errors import MedGANError
from monailabel_app.infers.base import ImageInfer, Outcome
from monailabel_app.infers.result import Part
from monailabel_app.options import Schema, number, switch
from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.tasks.anomaly.calibration import CalibrationError
from trainers.tasks.anomaly.infer import FALSE_POSITIVES, Detection, Detector

LEAST_RATE, MOST_RATE = 0.001, 0.5
UNITS = "heat"


class AnomalyInfer(ImageInfer):
    """Shows where an image is unlike those of healthy patients, on its own grid."""

    task = "anomaly"
    output = "both"
    trainable = True
    load = Detector

    def schema(self) -> Schema:
        """The false-positive rate of a finding, and whether hot places are in-painted and looked at again."""
        rate = "Share of healthy patients who may have a finding; the threshold follows from it."
        again = "Hot places are filled in as healthy and compared with what is there: fewer false findings, more time."
        return {
            "type": "object",
            "properties": {
                "false_positives": number("False positives", rate, FALSE_POSITIVES, LEAST_RATE, MOST_RATE),
                "refine": switch("Look twice", again, False),
            },
        }

    def run(
        self, loaded: Detector, images: Mapping[str, Volume], options: Mapping[str, Any], monitor: Monitor
    ) -> Outcome:
        """Looks for anomalies."""
        started = time.perf_counter()
        try:
            found = loaded(images, options["false_positives"], options["refine"], monitor)
        except CalibrationError as error:
            raise MedGANError("bad_option", str(error)) from error
        return self._outcome(found, {"infer": time.perf_counter() - started})

    def _outcome(self, found: Detection, seconds: dict[str, float]) -> Outcome:
        label = found.heat.like((np.asarray(found.heat.array) >= found.threshold).astype(np.uint8))
        parts = [
            Part("label", "labelmap", label, {"labels": self.spec.labels, "colors": self.spec.colors}),
            Part("heatmap", "volume", found.heat, {"units": UNITS}),
        ]
        return Outcome(parts, list(found.warnings), seconds, {"anomaly": told(found)})


def told(found: Detection) -> dict[str, Any]:
    """What an answer says of a detection, beside its maps."""
    return {
        "score": round(found.score, 4),
        "chance": round(found.chance, 6),
        "one_in": int(1 / found.chance),
        "healthy": len(found.peaks),
        "false_positives": found.false_positives,
        "threshold": found.threshold,
        "peaks": list(found.peaks),
        "findings": [finding.as_dict() for finding in found.findings],
    }

"""The test server's anomaly model: its heat has three spots, or whatever a test puts in its place."""

from __future__ import annotations

import io
import json
import zipfile
from bisect import bisect_left
from typing import Any, Dict, Mapping

import numpy as np

from .images import write_nrrd

ANOMALY = "brain_anomaly"
VERSION = "v0001"
LABELS = {"anomaly": 1}
HEALTHY = 120
PEAKS = [round(2.0 + 4.0 * (number / (HEALTHY - 1)) ** 3, 4) for number in range(HEALTHY)]
"""The largest heat in each healthy patient, ascending: from 2 to 6, seldom more than 4."""
SPOTS = ((0.5, 0.4, 0.3, 9.0), (0.3, 0.7, 0.6, 5.0), (0.7, 0.2, 0.7, 3.5))
"""Place of each spot, as shares of the volume along k, j and i, and its peak."""
WIDTH = 2.5
"""Standard deviation of a spot, in voxels."""


def anomaly_json() -> Dict[str, Any]:
    """Returns the model's entry in the answer of `GET /info/`."""
    options = {
        "false_positives": {
            "type": "number",
            "title": "False findings a healthy patient",
            "description": "Fewer need more heat.",
            "minimum": 0.01,
            "maximum": 1.0,
            "default": 0.05,
        },
        "refine": {
            "type": "boolean",
            "title": "Refine (slower)",
            "description": "Looks twice, with the first findings left out.",
            "default": False,
        },
    }
    medgan = {
        "task": "anomaly",
        "output": "both",
        "title": "Brain anomalies",
        "inputs": [{"name": "image", "modality": "MR T1"}],
        "options": {"type": "object", "properties": options},
        "version": VERSION,
        "checksum": "sha256:" + "0" * 64,
        "metrics": {"auroc": {"value": 0.91, "higher_is_better": True}},
        "data": "IXI",
        "licence": "CC BY-SA 3.0",
        "body_part": "brain",
        "modality": "MR T1",
        "trainable": True,
    }
    about = "Shows where a brain is unlike those of healthy people. It knows no diseases."
    return {"type": "others", "labels": LABELS, "dimension": 3, "description": about, "config": {}, "medgan": medgan}


def blobs(voxels: np.ndarray) -> np.ndarray:
    """Returns a heat map (k, j, i) with three smooth spots, whatever the image shows."""
    heat = np.zeros(voxels.shape)
    places = np.meshgrid(*[np.arange(n) for n in voxels.shape], indexing="ij")
    for *shares, peak in SPOTS:
        middle = [round(shares[axis] * (n - 1)) for axis, n in enumerate(voxels.shape)]
        distance = sum((places[axis] - middle[axis]) ** 2 for axis in range(3))
        heat = np.maximum(heat, peak * np.exp(-distance / (2 * WIDTH**2)))
    return heat.astype(np.float32)


def make_detection(heat: np.ndarray, affine: np.ndarray, params: Mapping[str, Any]) -> bytes:
    """Returns the .zip with heat map and label map, and what the heat means."""
    asked = float(params.get("false_positives", 0.05))
    threshold = PEAKS[min(HEALTHY - 1, round((1 - asked) * HEALTHY))]
    stream, label = io.BytesIO(), (heat >= threshold).astype(np.uint8)
    parts = [
        {"name": "heatmap", "kind": "volume", "file": "heatmap.nrrd", "units": "heat"},
        {"name": "label", "kind": "labelmap", "file": "label.nrrd", "labels": LABELS, "colors": {}},
    ]
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("heatmap.nrrd", write_nrrd(heat.astype(np.float32), affine))
        archive.writestr("label.nrrd", write_nrrd(label, affine))
        said = {"parts": parts, "model": ANOMALY, "version": VERSION, "warnings": []}
        archive.writestr("manifest.json", json.dumps({**said, "anomaly": _meaning(heat, threshold, asked)}))
    return stream.getvalue()


def _meaning(heat: np.ndarray, threshold: float, asked: float) -> Dict[str, Any]:
    score = float(heat.max())
    chance = (1 + HEALTHY - bisect_left(PEAKS, score)) / (1 + HEALTHY)
    return {
        "score": score,
        "chance": chance,
        "one_in": round(1 / chance),
        "healthy": HEALTHY,
        "false_positives": asked,
        "threshold": threshold,
        "peaks": PEAKS,
        "findings": [],
    }

"""The reality check of anomaly detection, on a small brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import anomaly
from tests.trainers.anomaly.world import recipe, volumes
from trainers.data.volumes import Volume, write_volume
from trainers.tasks.anomaly.train import train


def test_boxes_with_lesions_are_looked_at_by_each_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(3, steps=2, reference=False), volumes(), tmp_path / "model")
    monkeypatch.setattr(anomaly, "MODEL", str(tmp_path / "model"))
    random = np.random.default_rng(0)
    head = random.uniform(80, 100, (24, 32, 24)).astype(np.float32)
    lesion = np.zeros(head.shape, np.uint8)
    lesion[2:8, 3:9, 4:10] = 1
    for name, array in {"T1": head, "FLAIR": head + 50 * lesion, "lesion": lesion}.items():
        write_volume(tmp_path / "patient" / f"{name}.nii.gz", Volume(array, np.eye(4)))
    rows = anomaly.measure(tmp_path / "patient")
    assert [row["method"] for row in rows] == ["medgan", "nearest-features", "intensity", "brightness of FLAIR"]
    assert {row["boxes"] for row in rows} == {1} and float(rows[-1]["best_dice"]) > 0.95

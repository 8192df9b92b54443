"""How long the datastore takes with thousands of studies: to open, to note a score, to store a label."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from monailabel_app.datastore import FINAL, StudyDatastore
from trainers.data.volumes import Volume, write_volume

TIMES = 20
SCORE = {"model": "m", "version": "v0001", "uncertainty": 0.1, "features": [0.1] * 32}


def measure(folder: Path, count: int) -> list[dict[str, Any]]:
    """One row an action, with the median and the slowest of some times.

    Args:
        folder: for the studies; made anew.
        count: how many studies.
    """
    shutil.rmtree(folder, ignore_errors=True)
    file, names = folder / "small.nii.gz", [f"study_{number:05d}" for number in range(count)]
    write_volume(file, Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)))
    (folder / "studies").mkdir()
    for name in names:
        shutil.copy(file, folder / "studies" / f"{name}.nii.gz")

    def opened() -> StudyDatastore:
        return StudyDatastore(folder / "studies", folder / "data" / "backups")

    store, other = opened(), opened()

    def told(name: str) -> None:
        other.update_image_info(name, {"medgan_scores": SCORE})
        store.get_image_info(name)

    return [
        _row("open", lambda name: opened(), names[:3]),
        _row("update_image_info", lambda name: store.update_image_info(name, {"medgan_scores": SCORE}), names[:TIMES]),
        _row("save_label", lambda name: store.save_label(name, str(file), FINAL, {}), names[:TIMES]),
        _row("update_image_info by another, and see it", told, names[:TIMES]),
    ]


def _row(what: str, action: Callable[[str], object], names: list[str]) -> dict[str, Any]:
    seconds = []
    for name in names:
        started = time.perf_counter()
        action(name)
        seconds.append(time.perf_counter() - started)
    return {"what": what, "times": len(names), "median s": median(seconds), "slowest s": max(seconds)}

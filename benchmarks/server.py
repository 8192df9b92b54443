"""How fast the server answers: two organs in one large volume. `crowd` has many users, `speed` has stock beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clinic import clinic
from demo.mni import HIPPOCAMPUS, head
from trainers.data.cases import Case
from trainers.data.volumes import Volume, write_volume

MODEL = "hippocampus_segmentation"
LARGE = (512, 512, 200)
TIMES = 3


def measure(out: Path) -> list[dict[str, Any]]:
    """One row of what was asked and the seconds it took: median, and the slowest."""
    study = _large_study(out / "large" / "large.nii.gz")
    points = {"points": [list(p) for p in HIPPOCAMPUS.values()]}
    with clinic(out / "clinic", [study]) as client:
        seconds = []
        for _ in range(TIMES):
            started = time.perf_counter()
            client.infer(MODEL, out / "answers", image_id="large", options=points)
            seconds.append(time.perf_counter() - started)
    what = f"two hippocampi in {' x '.join(map(str, LARGE))} int16 .nii.gz"
    return [{"what": what, "times": TIMES, "median s": float(np.median(seconds)), "slowest s": max(seconds)}]


def _large_study(path: Path) -> Case:
    """The MNI head sampled as finely as a large clinical volume."""
    from scipy import ndimage

    template = head()
    factor = np.array(LARGE) / template.shape
    array = ndimage.zoom(template.array, factor, order=1)
    affine = template.affine @ np.diag([*(1 / factor), 1.0])
    write_volume(path, Volume((array * 1000).astype(np.int16), affine))
    return Case("large", path, path)

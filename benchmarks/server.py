"""How fast the server answers: one large volume, and small questions while it is busy."""

from __future__ import annotations

import threading
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
PARALLEL, QUESTIONS = 16, 40


def measure(out: Path) -> list[dict[str, Any]]:
    """Rows of what was asked and the seconds it took: median, and the slowest."""
    study = _large_study(out / "large" / "large.nii.gz")
    points = {"points": [list(p) for p in HIPPOCAMPUS.values()]}
    with clinic(out / "clinic", [study]) as client:

        def infer() -> None:
            client.infer(MODEL, out / "answers", image_id="large", options=points)

        rows = [
            _row(f"two hippocampi in {' x '.join(map(str, LARGE))} int16 .nii.gz", [_seconds(infer) for _ in "123"])
        ]
        rows.append(_row("/info/ on an idle server", [_seconds(client.info) for _ in range(QUESTIONS)]))
        workers = [threading.Thread(target=infer) for _ in range(PARALLEL)]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        time.sleep(1)
        rows.append(_row(f"/info/ while {PARALLEL} inferences run", [_seconds(client.info) for _ in range(QUESTIONS)]))
        for worker in workers:
            worker.join()
        rows.append(_row(f"{PARALLEL} inferences at once, until the last", [time.perf_counter() - started]))
    return rows


def _large_study(path: Path) -> Case:
    """The MNI head sampled as finely as a large clinical volume."""
    from scipy import ndimage

    template = head()
    factor = np.array(LARGE) / template.shape
    array = ndimage.zoom(template.array, factor, order=1)
    affine = template.affine @ np.diag([*(1 / factor), 1.0])
    write_volume(path, Volume((array * 1000).astype(np.int16), affine))
    return Case("large", path, path)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(what: str, seconds: list[float]) -> dict[str, Any]:
    return {"what": what, "times": len(seconds), "median s": float(np.median(seconds)), "slowest s": max(seconds)}

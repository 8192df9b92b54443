"""A reality check for the anomaly model: lesions of multiple sclerosis, in a brain that it was not made for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.sets import Sample
from trainers.data.volumes import Volume, read_label, read_volume
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.evaluate import Marked, methods_of, voxel_figures
from trainers.tasks.anomaly.infer import Detector, settings_of
from trainers.zoo import find_model

MODEL = "hippocampus_anomaly"
FEWEST = 30  # voxels of lesions in a box that counts
BRAIN = 0.5  # share of a box that must be brain


def measure(patient: Path) -> list[dict[str, Any]]:
    """Boxes of a T1-weighted MR with lesions, as large as the model's window, looked at by each of its methods.

    The model learned from boxes around the hippocampus of people without lesions, so that most of such a brain is
    strange to it; that is the point. The brightness of FLAIR, on which these lesions are bright, stands beside.

    Args:
        patient: folder with `T1.nii.gz`, `FLAIR.nii.gz` and `lesion.nii.gz` on one grid of 1 mm.
    """
    images = {name: read_volume(patient / f"{name}.nii.gz") for name in ("T1", "FLAIR")}
    mask = read_label(patient / "lesion.nii.gz")
    folder = find_model(MODEL)
    spec = ModelSpec.load(folder)
    boxes = list(_boxes(images["T1"], mask, settings_of(spec).window))
    rows = []
    for name in methods_of(spec):
        detector, marked = Detector(folder, method=name), Marked()
        samples = [Sample(images["T1"].array[box][None].astype(np.float32), None, np.eye(4)) for box in boxes]
        for box, (heat, _) in zip(boxes, detector.look(samples), strict=True):
            marked.add(heat, mask.array[box] > 0)
        rows.append(_row(name, marked))
    bright = Marked()
    for box in boxes:
        bright.add(images["FLAIR"].array[box].astype(float), mask.array[box] > 0)
    return [*rows, _row("brightness of FLAIR", bright)]


def _boxes(image: Volume, mask: Volume, size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes side by side that hold brain and lesions."""
    brain = image.array > 0.2 * np.percentile(image.array, 99)
    for corner in np.ndindex(*(n // w for n, w in zip(image.shape, size, strict=True))):
        box = tuple(slice(c * w, (c + 1) * w) for c, w in zip(corner, size, strict=True))
        if np.count_nonzero(mask.array[box]) >= FEWEST and brain[box].mean() > BRAIN:
            yield box


def _row(name: str, marked: Marked) -> dict[str, Any]:
    figures = voxel_figures(marked, None)
    told = {key: f"{figures[key]['value']:.3f}" for key in ("auroc", "best_dice")}
    return {"method": name, "boxes": len(marked.heats), **told}

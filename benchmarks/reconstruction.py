"""What super-resolution of a large volume costs, and whether its tiles can be seen."""

from __future__ import annotations

import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo.mni import head
from trainers.data.volumes import Volume
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.zoo import find_model

MODEL = "mr_super_resolution"
SIDES = (128, 256)
SEAMS = 112  # more than one tile, and not too large to be seen as a whole
GIB = 1024**2  # KiB, which is what the system counts in


def measure(threads: int = 2, sides: tuple[int, ...] = SIDES) -> list[dict[str, Any]]:
    """Rows of `what`, `value`, `unit`: time and peak memory for cubes of the MNI head, and the seams of tiles."""
    folder = find_model(MODEL)
    rows = []
    for side in sides:
        name = f"{side}^3 to {2 * side}^3"
        seconds, peak = _in_a_process(folder, side, threads)
        rows.append({"what": f"{name}, {threads} threads", "value": round(seconds, 1), "unit": "s"})
        rows.append({"what": f"{name}, peak memory of the process", "value": round(peak, 2), "unit": "GiB"})
    torch.set_num_threads(threads)
    return [*rows, *seams(folder, cube(SEAMS))]


def seams(folder: Path, volume: Volume) -> list[dict[str, Any]]:
    """How much tiles differ from the volume seen as a whole, beside the image's spread and the network's own doubt."""
    tiled = Reconstructor(folder)(volume)
    whole_model = Reconstructor(folder)
    whole_model.side = max(volume.shape)
    whole = whole_model(volume)
    difference = np.abs(tiled.image.array - whole.image.array)
    spread = float(whole.image.array.std())
    assert whole.uncertainty is not None
    told = {
        "largest difference by tiles": difference.max(),
        "99.9th percentile of it": np.percentile(difference, 99.9),
        "mean error that the network expects": whole.uncertainty.array.mean(),
    }
    return [{"what": k, "value": float(f"{v / spread:.2g}"), "unit": "of the image's spread"} for k, v in told.items()]


def cube(side: int) -> Volume:
    """The MNI head's middle, sampled to a cube of so many voxels."""
    from scipy import ndimage

    template = head()
    size = min(template.shape)
    start = [(n - size) // 2 for n in template.shape]
    cut = template.array[tuple(slice(s, s + size) for s in start)]
    array = ndimage.zoom(cut, side / size, order=1).astype(np.float32)
    return Volume(np.ascontiguousarray(array * 1000), template.affine @ np.diag([*[size / side] * 3, 1.0]))


def _in_a_process(folder: Path, side: int, threads: int) -> tuple[float, float]:
    """Seconds and peak GiB of a process of its own, so that no other work counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_work, (folder, side, threads))


def _work(folder: Path, side: int, threads: int) -> tuple[float, float]:
    torch.set_num_threads(threads)
    model, volume = Reconstructor(folder), cube(side)
    started = time.perf_counter()
    model(volume)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB

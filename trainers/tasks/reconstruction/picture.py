"""A picture of what a model makes beside what one has without it and beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.data.sets import Entry
from trainers.files import atomic_path
from trainers.metrics.reconstruction import psnr
from trainers.networks.reconstruction import expected_error
from trainers.tasks.reconstruction.evaluate import scans, simulated, volume_of
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.run import GAN
from trainers.tasks.reconstruction.task import shown

PICTURE_FILE = "samples.png"
NAMES = {"l1": "L1 weights", GAN: "GAN weights"}
TRUTH, DOUBT = "truth", "expected error"
Floats = npt.NDArray[np.float32]


def save_comparison(
    path: Path, reconstructor: Reconstructor, entries: Sequence[Entry], channels: Sequence[str] = (), seed: int = 0
) -> None:
    """Writes a picture, a row an entry: the middle slice of all images at one scale, with their PSNR.

    Args:
        path: a `.png`.
        reconstructor: the model.
        entries: clean volumes, oriented as the model is served.
        channels: of the data set.
        seed: of masks and noise.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [
        _row(reconstructor, entry, scan, seed) for entry, scan in scans(entries, reconstructor.measurement, channels)
    ]
    columns = len(rows[0])
    height = max(flat.shape[0] / flat.shape[1] for row in rows for flat in row.values())
    size = (2.1 * columns, (2.1 * min(height, 1.6) + 0.25) * len(rows))
    figure, axes = pyplot.subplots(len(rows), columns, figsize=size, squeeze=False, facecolor="white")
    for line, row in zip(axes, rows, strict=True):
        _draw(line, row)
    figure.tight_layout(pad=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    pyplot.close(figure)


def _row(reconstructor: Reconstructor, entry: Entry, scan: Any, seed: int) -> dict[str, Floats]:
    """Slices (row, column) by name; the truth and the doubt last."""
    measurement = next(iter(reconstructor.measurement.variants().values()))
    truth, measured = simulated(measurement, entry, scan, seed)
    views = reconstructor.looks_often(measured[measurement.given][:, :1].numel())
    found = {name: reconstructor.run(name, measured, views=views and name != GAN) for name in reconstructor.names}
    images = {
        **measurement.plain(measured),
        **{NAMES[name]: shown(made.image) for name, made in found.items()},
        TRUTH: truth,
        DOUBT: expected_error(found["l1"].log_error),
    }
    return {name: _middle(volume_of(image)) for name, image in images.items()}


def _middle(volume: Floats) -> Floats:
    """(x, y, z) in RAS to the middle axial slice, anterior up and the patient's left on the right."""
    return np.ascontiguousarray(volume[::-1, ::-1, volume.shape[2] // 2].T)


def _draw(axes: npt.NDArray[Any], row: dict[str, Floats]) -> None:
    truth = row[TRUTH]
    low, high = np.percentile(truth, [0.5, 99.5])
    for axis, (name, flat) in zip(axes, row.items(), strict=True):
        axis.axis("off")
        if name == DOUBT:
            axis.imshow(flat, cmap="inferno", vmin=0)
            axis.set_title(name, fontsize=9)
            continue
        axis.imshow(flat, cmap="gray", vmin=low, vmax=high)
        axis.set_title(name if name == TRUTH else f"{name}  {psnr(flat, truth):.1f} dB", fontsize=9)

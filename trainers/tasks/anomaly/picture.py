"""A picture of images and what the model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.data.sets import Entry, Sample
from trainers.files import atomic_path
from trainers.tasks.anomaly.evaluate import threshold_of
from trainers.tasks.anomaly.infer import Detector
from trainers.tasks.anomaly.lesions import with_lesion

PICTURE_FILE = "samples.png"
LESION = ("blob", 4.5, 2.0)  # of healthy images where no abnormal ones are known


def save_examples(path: Path, folder: Path, normal: Sequence[Entry], abnormal: Sequence[Entry] = ()) -> None:
    """Writes a picture: healthy images in the first row, abnormal ones in the second, each beside its heat.

    Args:
        path: a `.png`.
        folder: of the model.
        normal: healthy images.
        abnormal: others; without any, the healthy ones with a simulated lesion.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    detector = Detector(folder)
    others = abnormal or [with_lesion(entry, *LESION) for entry in normal]
    rows = {"healthy": normal, "abnormal" if abnormal else "simulated lesion": others}
    columns = 2 * max(map(len, rows.values()))
    figure, axes = pyplot.subplots(2, columns, figsize=(1.9 * columns, 4.4), squeeze=False, facecolor="white")
    top = 1.5 * (threshold_of(detector) or 1.0)
    for line, (name, entries) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        samples = [entry.read() for entry in entries]
        for place, (sample, (heat, score)) in enumerate(zip(samples, detector.look(samples), strict=True)):
            _draw(line[2 * place : 2 * place + 2], sample, heat, name, _rarity(detector, score), top)
    figure.tight_layout(pad=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def _rarity(detector: Detector, score: float) -> str:
    if detector.scores is None:
        return f"score {score:.1f}"
    return f"score {score:.1f}: 1 of {detector.scores.rarity(score):.0f} healthy"


def _draw(
    axes: npt.NDArray[Any], sample: Sample, heat: npt.NDArray[np.float32], name: str, told: str, top: float
) -> None:
    image = sample.image[0]
    place = int(heat.max((0, 1)).argmax()) if heat.ndim == 3 else 0
    flat, warm = (_flat(array, place) for array in (image, heat))
    axes[0].imshow(flat, cmap="gray")
    axes[0].set_title(name, fontsize=8)
    axes[1].imshow(flat, cmap="gray")
    axes[1].imshow(warm, cmap="inferno", alpha=np.clip(warm / top, 0, 1) * 0.8, vmin=0, vmax=top)
    axes[1].set_title(told, fontsize=8)


def _flat(array: npt.NDArray[Any], place: int) -> npt.NDArray[Any]:
    """A picture, or the axial slice of a volume in RAS, as rows and columns."""
    return array.T if array.ndim == 2 else array[::-1, ::-1, place].T

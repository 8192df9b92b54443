"""Pictures of real images beside made ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.files import atomic_path
from trainers.tasks.synthesis.images import Floats, Images, Labels
from trainers.tasks.synthesis.infer import Synthesizer

GRID_FILE = "samples.png"
COLUMNS, ROWS = 8, 3
COLOURS = ("#ffb000", "#2a9df4", "#3ddc84", "#ff5c8a")


def save_grid(path: Path, synthesizer: Synthesizer, real: Images, seed: int = 0) -> None:
    """Writes a picture of real images above made ones, at the same scale; 3D ones by their middle sagittal slice.

    Args:
        path: a `.png`.
        synthesizer: makes the images.
        real: to choose from, evenly.
        seed: of the first made image.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    number = COLUMNS * ROWS
    chosen = np.linspace(0, len(real) - 1, min(number, len(real))).astype(int)
    shown_real = [(real.array[i], None if real.labels is None else real.labels[i]) for i in chosen]
    made = [synthesizer.make(seed + k) for k in range(number)]
    figure, axes = pyplot.subplots(2 * ROWS, COLUMNS, figsize=(COLUMNS * 1.25, 2 * ROWS * 1.35), facecolor="white")
    _draw(axes[:ROWS], shown_real)
    _draw(axes[ROWS:], [(m.image, m.label) for m in made])
    figure.subplots_adjust(left=0.05, right=0.995, top=0.995, bottom=0.005, wspace=0.04, hspace=0.04)
    for text, height in (("real", 0.75), ("synthetic", 0.25)):
        figure.text(0.022, height, text, rotation=90, va="center", ha="center", fontsize=13, weight="bold")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    pyplot.close(figure)


def _draw(axes: npt.NDArray[Any], shown: Sequence[tuple[Floats, Labels | None]]) -> None:
    for place, axis in enumerate(axes.flat):
        axis.axis("off")
        if place >= len(shown):
            continue
        image, label = shown[place]
        picture = upright(middle_slice(image))
        axis.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
        if label is not None:
            flat = upright(middle_slice(label[None].astype(np.float32)), scale=False)[..., 0]
            for value in range(1, int(label.max()) + 1):
                if (flat == value).any():
                    axis.contour(
                        flat == value, levels=[0.5], colors=COLOURS[(value - 1) % len(COLOURS)], linewidths=0.9
                    )


def middle_slice(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(channel, x, y) as it is; of (channel, x, y, z) in RAS the middle sagittal slice (channel, y, -z)."""
    return image if image.ndim == 3 else image[:, image.shape[1] // 2, :, ::-1]


def upright(picture: npt.NDArray[np.float32], scale: bool = True) -> npt.NDArray[np.float32]:
    """(channel, x, y) in [-1, 1] as (row, column, channel) in [0, 1], the way it is seen on a screen."""
    rows = picture.transpose(2, 1, 0)
    return (rows + 1) / 2 if scale else rows

"""A picture of both sources, of the brighter of both and of what a model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.sets import DataSet, Entry
from trainers.files import atomic_path
from trainers.tasks.fusion.evaluate import AVERAGE, MAXIMUM, fused, grey_slices, modalities_of, pairs_of
from trainers.tasks.fusion.infer import SAFE, Fuser
from trainers.tasks.fusion.windows import Floats
from trainers.tasks.reconstruction.run import GAN

NAMES = {MAXIMUM: "brighter of both", SAFE: "safe weights", GAN: "GAN weights"}
INCHES = 2.1


def save_panel(path: Path, fuser: Fuser, data: DataSet, entries: Sequence[Entry]) -> None:
    """Writes a picture, a row for each pair of channels of each entry: both sources and what is made of them.

    Args:
        path: a `.png`.
        fuser: the model.
        data: the set.
        entries: those of it to show, each by the slice that shows most of the last channel.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for entry in entries for row in _rows(fuser, data, entry)]
    height = max(image.shape[0] / image.shape[1] for row in rows for image in row.values())
    columns = len(rows[0])
    size = (INCHES * columns, (INCHES * height + 0.3) * len(rows))
    figure, axes = pyplot.subplots(len(rows), columns, figsize=size, squeeze=False, facecolor="white")
    for line, row in zip(axes, rows, strict=True):
        for axis, (name, image) in zip(line, row.items(), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_title(name, fontsize=9)
            axis.axis("off")
    figure.tight_layout(pad=0.4)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def _rows(fuser: Fuser, data: DataSet, entry: Entry) -> list[dict[str, Floats]]:
    """Slices (row, column) by name, for each pair."""
    slices = list(grey_slices(entry.read(), modalities_of(data), fuser.windows))
    grey = max(slices, key=lambda s: float(s[-1].sum()))
    rows = []
    for a, b in pairs_of(data):
        made = fused(fuser, grey[a], grey[b])
        images = {
            data.channels[a]: grey[a],
            data.channels[b]: grey[b],
            **{NAMES[k]: v for k, v in made.items() if k != AVERAGE},
        }
        rows.append({name: _upright(image, data.dimensions) for name, image in images.items()})
    return rows


def _upright(image: Floats, dimensions: int) -> Floats:
    """(x, y) to rows and columns; of a slice in RAS, anterior up and the patient's left on the right."""
    flat = image if dimensions == 2 else image[::-1, ::-1]
    return np.ascontiguousarray(flat.T)

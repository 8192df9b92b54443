"""What clicks are worth: a simulated clinician corrects the shipped model's answers on patients not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.cases import find_cases
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.segmentation.clicking import POOR
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.interaction import GOOD, click_report
from trainers.tasks.segmentation.train import part_ids
from trainers.zoo import find_model

CLICKS = 8
AS_THEY_ARE, SPOILED, CARELESS = "as they are", "spoiled", "spoiled, clicked off the middle"
IMAGES = {AS_THEY_ARE: (0.0, True), SPOILED: (1.0, True), CARELESS: (1.0, False)}
"""By name: how much they are spoiled, and whether clicks go into the middle of the largest error."""
WORST, WORST_CARELESS = f"spoiled, below {POOR} at first", f"… clicked off the middle, below {POOR} at first"
COLOURS = {AS_THEY_ARE: "#2a9df4", SPOILED: "#ffb000", WORST: "#d1495b"}


def measure(
    data: Path, model: str = "hippocampus_segmentation", clicks: int = CLICKS, monitor: Monitor = Monitor()
) -> list[dict[str, Any]]:
    """Rows of images, clicks, cases, mean Dice, and the share that has a Dice of `GOOD` by then."""
    folder = find_model(model)
    ids = part_ids(ModelSpec.load(folder), "test")
    cases = [case for case in find_cases(data) if ids is None or case.id in ids]
    segmenter = Segmenter(folder)
    curves = {
        name: [case["dice"] for case in click_report(segmenter, cases, clicks, strength, monitor, aimed)["per_case"]]
        for name, (strength, aimed) in IMAGES.items()
    }
    for worst, of in ((WORST, SPOILED), (WORST_CARELESS, CARELESS)):
        curves[worst] = [dice for dice in curves[of] if dice[0] < POOR]
    return [row for name, found in curves.items() if found for row in _rows(name, found, clicks)]


def _rows(name: str, curves: Sequence[list[float]], clicks: int) -> list[dict[str, Any]]:
    """A case where nothing was left to correct stays as it was."""
    dice = np.array([curve + [curve[-1]] * (clicks + 1 - len(curve)) for curve in curves])
    reached = np.maximum.accumulate(dice, axis=1) >= GOOD
    return [
        {
            "images": name, "clicks": count, "cases": len(dice), "Dice": float(dice[:, count].mean()),
            f"reached {GOOD}": float(reached[:, count].mean()),
        }
        for count in range(clicks + 1)
    ]  # fmt: skip


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Mean Dice, and the share of images at `GOOD`, against the number of clicks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9.6, 3.8))
    for name, colour in COLOURS.items():
        mine = [row for row in rows if row["images"] == name]
        if not mine:
            continue
        count = [row["clicks"] for row in mine]
        told = f"{name} ({mine[0]['cases']})"
        axes[0].plot(count, [row["Dice"] for row in mine], "o-", color=colour, label=told)
        axes[1].plot(count, [100 * row[f"reached {GOOD}"] for row in mine], "o-", color=colour)
    axes[0].set(xlabel="clicks", ylabel="mean Dice")
    axes[1].set(xlabel="clicks", ylabel=f"images that reached a Dice of {GOOD:.2f}, %", ylim=(-3, 103))
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

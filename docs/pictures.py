"""Makes the overview picture of the README and those of some panels: `python docs/pictures.py [NAME …]`.

Names are `overview`, `synthesise` (starts a real server), `correct`, `review` and `kspace`; all by default. The others
are made by `python -m tests.host.pictures`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

IMAGES = Path(__file__).parent / "images"
INK, SOFT, LINE = "#1d2733", "#5b6b7b", "#c9d3dc"
HANDS = ["see the result in place", "undo in one step", "correct, submit", "watch training, roll back"]
BRAIN = ["checked input, clear errors", "never blocks", "versions with a gate", "next study to label"]
SCHOOL = ["one preprocessing", "one training loop", "specs and weights", "measured on patients kept away"]
HOUSES = [
    ("3D Slicer module", "MedGANSlicerExtension", "#2a6f97", HANDS),
    ("MONAI Label server", "monailabel_app", "#2d7d46", BRAIN),
    ("GAN library", "trainers", "#b3662a", SCHOOL),
]
STEPS = ["1  segment", "2  correct", "3  submit", "4  retrain", "5  gate", "6  serve the better one"]


def overview(path: Path) -> None:
    """Three houses, the arrows between them, and the loop that a clinician goes through."""
    figure, axis = plt.subplots(figsize=(11, 4.3))
    axis.set_xlim(0, 110)
    axis.set_ylim(0, 43)
    axis.axis("off")
    for place, house in enumerate(HOUSES):
        _house(axis, 2 + place * 38, *house)
    for place, text in enumerate(("HTTP", "Python")):
        _arrow(axis, 32 + place * 38, text)
    _loop(axis)
    figure.subplots_adjust(0, 0, 1, 1)
    figure.savefig(path, dpi=130, facecolor="white")
    plt.close(figure)


def _house(axis: Any, left: float, title: str, folder: str, color: str, lines: list[str]) -> None:
    axis.add_patch(
        FancyBboxPatch((left, 13), 30, 28, boxstyle="round,pad=0,rounding_size=1.6", fc="white", ec=color, lw=2)
    )
    axis.text(left + 15, 36.8, title, ha="center", fontsize=13.5, weight="bold", color=color)
    axis.text(left + 15, 33.4, folder, ha="center", fontsize=9, color=SOFT, family="monospace")
    for row, line in enumerate(lines):
        axis.text(left + 3, 28.6 - 3.7 * row, "•  " + line, fontsize=10, color=INK)


def _arrow(axis: Any, left: float, text: str) -> None:
    axis.add_patch(
        FancyArrowPatch((left + 0.6, 27), (left + 7.4, 27), arrowstyle="-|>", mutation_scale=16, lw=1.8, color=SOFT)
    )
    axis.text(left + 4, 28.6, text, ha="center", fontsize=8.5, color=SOFT)


def _loop(axis: Any) -> None:
    """The steps as a chain that returns to its start."""
    width, gap = 15.4, 2.65
    for place, step in enumerate(STEPS):
        left = 2 + place * (width + gap)
        axis.add_patch(
            FancyBboxPatch(
                (left, 5), width, 4.6, boxstyle="round,pad=0,rounding_size=1.2", fc="#f2f5f8", ec=LINE, lw=1.2
            )
        )
        axis.text(left + width / 2, 7.2, step, ha="center", va="center", fontsize=8.8, color=INK)
        if place:
            ends = (left - gap + 0.2, 7.3), (left - 0.2, 7.3)
            axis.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=10, lw=1.2, color=SOFT))
    back = FancyArrowPatch(
        (99, 4.7),
        (9.5, 4.7),
        connectionstyle="arc3,rad=-0.045",
        arrowstyle="-|>",
        mutation_scale=12,
        lw=1.2,
        color=SOFT,
    )
    axis.add_patch(back)


def synthesise(folder: Path) -> None:
    """The module's own panel after a real server made eight samples, in a stand-in for Slicer."""
    from tests.host.pictures import draw_synthesis

    draw_synthesis(folder)


def correct(folder: Path) -> None:
    """Correcting by clicks, with a small test server, in a stand-in for Slicer."""
    from tests.host.correct_picture import draw_corrections

    draw_corrections(folder)


def review(folder: Path) -> None:
    """The review list and the training, with a small test server, in a stand-in for Slicer."""
    from tests.host.correct_picture import draw_review

    draw_review(folder)


def kspace(folder: Path) -> None:
    """K-space in place of a volume and results as DICOM, with a small test server, in a stand-in for Slicer."""
    from tests.host.kspace_picture import draw_kspace

    draw_kspace(folder)


PICTURES = {
    "overview": lambda folder: overview(folder / "overview.png"),
    "synthesise": synthesise,
    "correct": correct,
    "review": review,
    "kspace": kspace,
}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name](IMAGES)

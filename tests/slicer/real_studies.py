"""Studies of real anatomy for the end-to-end tests: crops of the MNI152 template around the hippocampi."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demo import mni
from trainers.data.volumes import Volume, write_volume

LEFT, RIGHT = mni.HIPPOCAMPUS.values()


def crop(number: int) -> Volume:
    """Returns a crop around one hippocampus; place and contrast vary with the number."""
    random = np.random.default_rng(number)
    centre = np.add((LEFT, RIGHT)[number % 2], random.integers(-3, 4, 3))
    part = mni.crop(mni.head(), tuple(centre))
    return part.like((1000 * part.array ** random.uniform(0.9, 1.1)).astype(np.float32))


def mirrored(image: Volume) -> Volume:
    """Returns the same image stored from right to left (left-handed, as radiological files are)."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = image.shape[0] - 1
    return Volume(image.array[::-1], image.affine @ flip)


def tilted(image: Volume) -> Volume:
    """Returns the same image with its head tilted by 12 degrees: an oblique grid."""
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    return Volume(image.array, turn @ image.affine)


def write_studies(folder: Path, count: int = 9) -> Path:
    """Writes `case_0.nii.gz` …: the first mirrored, the second oblique, the others plain; returns the folder."""
    for number in range(count):
        change = {0: mirrored, 1: tilted}.get(number, lambda image: image)
        write_volume(folder / f"case_{number}.nii.gz", change(crop(number)))
    return folder


def whole_head(path: Path) -> Path:
    """Writes the whole template."""
    write_volume(path, mni.head().like(1000 * mni.head().array))
    return path

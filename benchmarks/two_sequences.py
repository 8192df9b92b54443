"""A clinic with two sequences: some patients come as the negative of their T1 image, dark for bright as on T2.

Real patients of a rare kind that are labelled alike are not at hand. A negative keeps the noise and sharpness of T1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.cases import Case, hash_fraction
from trainers.data.volumes import read_volume, write_volume

NEGATIVE = "-negative"
BRIGHTEST = 99.5  # percentile that becomes black: single bright voxels are not to lift all others to white


def some_negative(cases: Sequence[Case], share: float, folder: Path) -> list[Case]:
    """The same patients, a share of whom, at least one, comes as the negative; the hash of their id says who."""
    patients = sorted({case.patient for case in cases}, key=lambda patient: hash_fraction(patient + NEGATIVE))
    rare = patients[: max(1, round(share * len(patients)))]
    return [negative(case, folder) if case.patient in rare else case for case in cases]


def negative(case: Case, folder: Path) -> Case:
    """The same patient's image with black and white exchanged, written into a folder; the label stays."""
    image = read_volume(case.image)
    path = folder / f"{case.id}{NEGATIVE}.nii.gz"
    if not path.is_file():
        bright = float(np.percentile(image.array, BRIGHTEST))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, image.like(np.clip(bright - image.array.astype(np.float32), 0, None)))
    return Case(f"{case.id}{NEGATIVE}", path, case.label, case.patient)


def is_negative(case: Case) -> bool:
    """Whether a case is one of the rare kind."""
    return case.id.endswith(NEGATIVE)

"""Studies of real anatomy for the end-to-end tests: crops of the MNI152 template around the hippocampi."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_template

SIZE = (36, 52, 36)
LEFT, RIGHT = (-26, -22, -14), (26, -22, -14)
"""Centres of the hippocampi in MNI millimetres."""


def crop(number: int) -> nib.Nifti1Image:
    """Returns a crop around one hippocampus; place and contrast vary with the number."""
    template = load_mni152_template(resolution=1)
    random = np.random.default_rng(number)
    centre = np.add((LEFT, RIGHT)[number % 2], random.integers(-3, 4, 3))
    first = np.round(np.linalg.inv(template.affine) @ [*centre, 1])[:3].astype(int) - np.array(SIZE) // 2
    affine = template.affine.copy()
    affine[:3, 3] = (template.affine @ [*first, 1])[:3]
    box = tuple(slice(a, a + n) for a, n in zip(first, SIZE, strict=True))
    voxels = np.asarray(template.dataobj, np.float32)[box] ** random.uniform(0.9, 1.1)
    return nib.Nifti1Image((1000 * voxels).astype(np.float32), affine)


def mirrored(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Returns the same image stored from right to left (left-handed, as radiological files are)."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = image.shape[0] - 1
    return nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine @ flip)


def tilted(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Returns the same image with its head tilted by 12 degrees: an oblique grid."""
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    return nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine)


def write_studies(folder: Path, count: int = 9) -> Path:
    """Writes `case_0.nii.gz` …: the first mirrored, the second oblique, the others plain; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        change = {0: mirrored, 1: tilted}.get(number, lambda image: image)
        nib.save(change(crop(number)), folder / f"case_{number}.nii.gz")
    return folder


def whole_head(path: Path) -> Path:
    """Writes the whole template."""
    template = load_mni152_template(resolution=1)
    nib.save(nib.Nifti1Image((1000 * np.asarray(template.dataobj)).astype(np.float32), template.affine), path)
    return path

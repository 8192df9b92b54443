"""Segmentations that a synthesis model is to fill: cut down to what is segmented, and of a size that it can fill."""

from __future__ import annotations

import numpy as np

from monailabel_app.infers.segmentation import FINEST
from trainers.data.volumes import Volume, VolumeError
from trainers.spec import ModelSpec

LARGEST = 4.0  # times the model's window, along any axis
KEPT = 0.9  # of a segmentation; if less of it is in the images, the clinician is told


def fitting_mask(mask: Volume, spec: ModelSpec) -> Volume:
    """The part of a label map that is segmented, with a margin.

    Raises:
        VolumeError: `wrong_labels` if nothing is; `cannot_process` if it is of quite another size than what the model
            makes: mostly its header gives the size of a voxel in metres.
    """
    spots = np.argwhere(mask.array)
    if not spots.size:
        hint = f"Segment at least one of {', '.join(spec.labels)}."
        raise VolumeError("wrong_labels", "The label map is empty.", hint)
    first, last = spots.min(0), spots.max(0) + 1
    _check_scale((last - first) * mask.spacing, mask, spec)
    margin = np.ceil(2 * _model_spacing(spec).max() / mask.spacing).astype(int)
    low, high = np.maximum(first - margin, 0), np.minimum(last + margin, mask.shape)
    affine = mask.affine.copy()
    affine[:3, 3] = (mask.affine @ [*low, 1.0])[:3]
    return Volume(mask.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], affine)


def cut_warning(mask: Volume, made: Volume) -> list[str]:
    """Tells, if it is so, that a segmentation is too large for the images that were made to fill it."""
    share = _filled(made) / _filled(mask)
    if share >= KEPT:
        return []
    covered = " x ".join(f"{n:.0f}" for n in made.spacing * made.shape)
    return [f"Only {share:.0%} of the segmentation is in the images: the model makes {covered} mm around its middle."]


def _check_scale(size: np.ndarray, mask: Volume, spec: ModelSpec) -> None:
    window = _model_spacing(spec) * spec.preprocess["window"]
    if mask.spacing.min() < FINEST or size.max() > LARGEST * window.max():
        seen, made = (" x ".join(f"{n:.3g}" for n in sides) for sides in (size, window))
        message = f"The segmentation covers {seen} mm; the model makes images of {made} mm."
        raise VolumeError("cannot_process", message, "Check the voxel size in its header: it must be in millimetres.")


def _model_spacing(spec: ModelSpec) -> np.ndarray:
    return np.asarray(spec.preprocess["spacing"], float)


def _filled(volume: Volume) -> float:
    """Volume of all labels, mm3."""
    return float(np.count_nonzero(volume.array) * np.prod(volume.spacing))

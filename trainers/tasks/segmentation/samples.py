"""Training samples: normalised windows with class indices, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.cases import Case
from trainers.data.volumes import Volume, VolumeError, read_label, read_volume
from trainers.preprocess import CanonicalGrid, Preprocess, Window, normalise
from trainers.spec import ModelSpec
from trainers.tasks.segmentation.regions import is_small

SPECK_MM3 = 100.0


@dataclass(frozen=True)
class Sample:
    """One window: `image` float32 and `label` class indices, both (x, y, z)."""

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]


def load_case(case: Case, spec: ModelSpec) -> tuple[Volume, Volume]:
    """Reads a case's image and label. Raises VolumeError, naming the case, if either is unusable."""
    try:
        image = read_volume(case.image)
        return image, read_label(case.label, spec.labels.values(), image)
    except VolumeError as error:
        raise VolumeError(error.code, f"{case.id}: {error.message}", error.hint) from error


def load_samples(cases: Iterable[Case], spec: ModelSpec) -> list[Sample]:
    """Reads cases into samples: a crop is one; a large image gives one for each labelled organ."""
    settings = Preprocess(**spec.preprocess)
    classes = np.zeros(256, np.uint8)
    for index, value in enumerate(sorted(spec.labels.values())):
        classes[value] = index + 1
    samples = []
    for case in cases:
        image, label = load_case(case, spec)
        grid = CanonicalGrid(image, settings.spacing)
        for window in _windows(grid, label, settings):
            inside = grid.inside(window)
            cut = normalise(grid.extract(image.array, window), inside, settings.clip)
            samples.append(Sample(cut, classes[grid.extract_label(label.array, window)]))
    return samples


def load_unlabelled(path: Path, spec: ModelSpec) -> Sample:
    """A whole crop, normalised, with an empty label. Raises VolumeError if it cannot be read."""
    settings = Preprocess(**spec.preprocess)
    volume: Volume = read_volume(path)
    grid = CanonicalGrid(volume, settings.spacing)
    window = grid.whole()
    image = normalise(grid.extract(volume.array, window), grid.inside(window), settings.clip)
    return Sample(image, np.zeros(image.shape, np.uint8))


def organ_points(label: Volume) -> list[list[float]]:
    """Middles (RAS mm) of the labelled organs of a label map, specks left out."""
    found = ndimage.find_objects((label.array > 0).astype(np.uint8))
    if not found:
        return []
    region = found[0]
    first = np.array([s.start for s in region])
    pieces, _ = ndimage.label(label.array[region] > 0, structure=np.ones((3, 3, 3)))
    smallest = SPECK_MM3 / float(np.prod(label.spacing))
    points = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        if (pieces[box] == number).sum() >= smallest:
            middle = first + [(s.start + s.stop - 1) / 2 for s in box]
            points.append([float(v) for v in (label.affine @ [*middle, 1.0])[:3]])
    return points


def _windows(grid: CanonicalGrid, label: Volume, settings: Preprocess) -> Sequence[Window]:
    if is_small(grid, settings):
        return [grid.whole()]
    return [Window.around(grid.index(p), settings.window) for p in organ_points(label)]


def as_tensors(sample: Sample) -> dict[str, Any]:
    """A sample as the augmentation takes it: (1, x, y, z) arrays."""
    return {"image": sample.image[None], "label": sample.label[None].astype(np.float32)}

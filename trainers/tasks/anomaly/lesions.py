"""Controlled lesions in healthy images: how well each method finds them, by kind, size and contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.cases import hash_fraction
from trainers.data.sets import Entry, Sample
from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.physics.lesions import KINDS, Lesion, add_lesion, place_for
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.evaluate import methods_of, threshold_of
from trainers.tasks.anomaly.infer import Detector, read_batches
from trainers.tasks.anomaly.voxels import Marked, voxel_figures

RADII = (2.0, 3.0, 4.5)  # mm, or pixels of pictures
CONTRASTS = (1.0, 2.0)  # standard deviations of the image; darker in half of the images
MASS = 0.5  # mass effect, in half of the images
MARGIN = 2.0  # share of the radius that a lesion is away from the image's edge, at least where it can be
BACKGROUND = 0.15  # of the way from the lowest to the highest grey: tissue is above


def with_lesion(entry: Entry, kind: str, radius: float, contrast: float) -> Entry:
    """The entry with a lesion in it, the same each time, and a label map of where it is."""
    name = f"{entry.id}-{kind}-{radius:g}-{contrast:g}"
    return replace(entry, id=name, read=partial(_read, entry, name, Lesion(kind, radius, contrast)))


def measure_lesions(
    folder: Path,
    normal: Sequence[Entry],
    monitor: Monitor = Monitor(),
    device: str = "cpu",
    radii: Sequence[float] = RADII,
    contrasts: Sequence[float] = CONTRASTS,
) -> list[dict[str, Any]]:
    """Localisation of simulated lesions.

    Args:
        folder: the model's.
        normal: healthy images that it did not learn from; each gets one lesion of each kind, size and contrast.
        monitor: hears `progress`; may cancel.
        device: see `trainers.devices.pick_device`.
        radii: mm.
        contrasts: standard deviations of the image.

    Returns:
        Rows `{"kind", "radius", "contrast", "images", methods: {name: figures}}` as `voxels.voxel_figures` gives
        them; the first row, of kind `all`, is of all lesions together.
    """
    spec = ModelSpec.load(folder)
    detectors = {name: Detector(folder, device, name) for name in methods_of(spec)}
    cells = [(kind, r, c) for kind in KINDS for r in radii for c in contrasts]
    every, rows = {name: Marked() for name in detectors}, []
    for number, (kind, radius, contrast) in enumerate(cells):
        found = _marked(detectors, [with_lesion(entry, kind, radius, contrast) for entry in normal], monitor)
        for name, marked in found.items():
            every[name].join(marked)
        rows.append(_row({"kind": kind, "radius": radius, "contrast": contrast}, found, detectors))
        monitor.report(progress=(number + 1) / len(cells))
    return [_row({"kind": "all", "radius": "all", "contrast": "all"}, every, detectors), *rows]


def _row(cell: dict[str, Any], found: Mapping[str, Marked], detectors: Mapping[str, Detector]) -> dict[str, Any]:
    figures = {name: voxel_figures(marked, threshold_of(detectors[name])) for name, marked in found.items()}
    return {**cell, "images": len(next(iter(found.values()))), "methods": figures}


def _marked(detectors: Mapping[str, Detector], entries: Sequence[Entry], monitor: Monitor) -> dict[str, Marked]:
    """What each method tells of the images that have a lesion."""
    found = {name: Marked() for name in detectors}
    for samples in read_batches(entries):
        for name, detector in detectors.items():
            monitor.check()
            for sample, (heat, _) in zip(samples, detector.look(samples), strict=True):
                if sample.label is not None and sample.label.any():
                    found[name].add(heat, sample.label)
    return found


def _read(entry: Entry, name: str, lesion: Lesion) -> Sample:
    """The sample with a lesion: every second one darker, and with a mass effect, by its name."""
    sample = entry.read()
    random = np.random.default_rng(int(hash_fraction(name) * 2**31))
    darker, pushed = random.integers(2, size=2)
    first = sample.image[0]
    spacing = _spacing(sample)
    contrast = lesion.contrast * float(first.std()) * (-1 if darker else 1)
    made = replace(lesion, contrast=contrast, mass=MASS * float(pushed))
    low, high = np.percentile(first, [0.5, 99.5])
    tissue = _inner(first > low + BACKGROUND * (high - low), made.radius, spacing)
    place, shape = place_for(tissue, made.radius, spacing, random), int(random.integers(2**31))
    channels, mask = [], np.zeros(first.shape, bool)
    for channel in sample.image:
        spoilt, mask = add_lesion(channel, made, place, spacing, np.random.default_rng(shape))
        channels.append(spoilt.clip(min(0.0, float(channel.min())), None))
    return Sample(np.stack(channels), mask.astype(np.uint8), sample.affine)


def _spacing(sample: Sample) -> tuple[float, ...]:
    """Of a volume, mm; of a picture, pixels."""
    if sample.affine is None:
        return (1.0,) * (sample.image.ndim - 1)
    return tuple(float(n) for n in Volume(sample.image[0], sample.affine).spacing)


def _inner(tissue: Any, radius: float, spacing: Sequence[float]) -> Any:
    """Tissue away from the image's edge, or all of it where nothing is."""
    kept = np.zeros_like(tissue)
    margin = [min(int(np.ceil(MARGIN * radius / s)), (n - 1) // 2) for n, s in zip(tissue.shape, spacing, strict=True)]
    inner = tuple(slice(m, n - m) for m, n in zip(margin, tissue.shape, strict=True))
    kept[inner] = tissue[inner]
    return kept if kept.any() else tissue

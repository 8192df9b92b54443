"""Measuring a fusion model: the six figures of both ends of the slider beside what one has without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import torch

from trainers.data.cases import CasesError
from trainers.data.sets import DataSet, Entry, Sample
from trainers.metrics.fusion import all_figures
from trainers.metrics.intervals import bootstrap_mean
from trainers.monitor import Monitor
from trainers.tasks.fusion.infer import SAFE, WHITE, Fuser
from trainers.tasks.fusion.windows import GREY, Floats, Windows, modality_of
from trainers.tasks.reconstruction.infer import order_of
from trainers.tasks.reconstruction.run import GAN

FIGURES = ("EN", "SD", "MI", "VIF", "Qabf", "SSIM")
MAXIMUM, AVERAGE = "pixel-max", "average"
CONTENT = 0.05  # of the window: a slice of which a source spans less shows nothing
DIGITS = 4
Pair = tuple[int, int]
"""Two channels of a data set."""


@dataclass(frozen=True)
class Report:
    """Measurements of one model on one pair of modalities.

    Attributes:
        pair: what the two images are called.
        per_patient: `{"id", "slices", method: {figure: value}}` of each patient, the mean over the slices with content;
            methods are `pixel-max`, `average`, `safe` and, if there are such weights, `gan`. More of each figure is
            better.
    """

    pair: str
    per_patient: list[dict[str, Any]]

    @property
    def methods(self) -> list[str]:
        """All methods, those without a network first."""
        return [m for m in (MAXIMUM, AVERAGE, SAFE, GAN) if m in self.per_patient[0]]

    def mean(self, method: str, figure: str) -> float:
        """A figure's mean over patients."""
        return float(np.mean(self._values(method, figure)))

    def ahead(self, method: str) -> list[str]:
        """The figures of which a method has more than the pixel-wise maximum."""
        return [figure for figure in FIGURES if self.mean(method, figure) > self.mean(MAXIMUM, figure)]

    @cached_property
    def estimates(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Of each method and figure the mean and, of two patients or more, the ends of its 95 % bootstrap interval."""
        return {m: {figure: _estimate(self._values(m, figure)) for figure in FIGURES} for m in self.methods}

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {
            "pair": self.pair,
            "patients": len(self.per_patient),
            "methods": self.estimates,
            "ahead_of_pixel_max": {m: self.ahead(m) for m in self.methods if m != MAXIMUM},
            "per_patient": self.per_patient,
        }

    def _values(self, method: str, figure: str) -> list[float]:
        return [patient[method][figure] for patient in self.per_patient]


def evaluate(
    fuser: Fuser,
    data: DataSet,
    entries: Sequence[Entry],
    modalities: Sequence[str] = (),
    monitor: Monitor = Monitor(),
) -> list[Report]:
    """Measures a model on each pair of a data set's channels.

    Args:
        fuser: the model.
        data: the set, of volumes or pictures.
        entries: those of it to measure on; a patient may have several.
        modalities: of the channels, CT, MR, PET or grey. None given takes pictures of 0 to 255 as they are, and
            volumes for what the channels are named for.
        monitor: hears `progress`; may cancel.

    Raises:
        CasesError: fewer than two channels or another number of modalities, or none of the slices has content.
        VolumeError: an image cannot be read.
    """
    known = modalities_of(data, modalities)
    found: dict[Pair, dict[str, list[dict[str, dict[str, float]]]]] = {p: {} for p in pairs_of(data)}
    for number, entry in enumerate(entries):
        monitor.check()
        slices = list(grey_slices(entry.read(), known, fuser.windows))
        for pair, patients in found.items():
            rows = patients.setdefault(entry.patient, [])
            rows += [measure(fuser, grey[pair[0]], grey[pair[1]]) for grey in slices if _content(grey, pair)]
        monitor.report(progress=(number + 1) / len(entries))
    return [_report(" + ".join(data.channels[c] for c in pair), patients) for pair, patients in found.items()]


def modalities_of(data: DataSet, named: Sequence[str] = ()) -> list[str]:
    """The modality of each channel; see `evaluate`."""
    if not named and data.dimensions == 2:
        return [GREY] * len(data.channels)
    if named and len(named) != len(data.channels):
        raise CasesError(f"There are {len(data.channels)} channels ({', '.join(data.channels)}); name as many.")
    return list(named) or [modality_of(name) for name in data.channels]


def pairs_of(data: DataSet) -> list[Pair]:
    """All pairs of channels. Raises CasesError if there is one channel alone."""
    if len(data.channels) < 2:
        raise CasesError(f"{data.name} has one image of each patient ({data.channels[0]}); fusion needs two.")
    return list(combinations(range(len(data.channels)), 2))


def grey_slices(sample: Sample, modalities: Sequence[str], windows: Windows) -> Iterator[Floats]:
    """The slices of a sample as the model is served them, each (c, x, y) of 0 to 1."""
    grey = [windows.of_image(x, m).grey(x) for x, m in zip(sample.image, modalities, strict=True)]
    if sample.image.ndim == 3:
        yield np.stack(grey)
        return
    if sample.affine is not None:
        order = order_of(sample.affine, thick_last=True)
        grey = [orientations.apply_orientation(x, order) for x in grey]
    for k in range(grey[0].shape[2]):
        yield np.stack([x[..., k] for x in grey])


def measure(fuser: Fuser, one: Floats, two: Floats) -> dict[str, dict[str, float]]:
    """The six figures of each method, of two slices (x, y) of 0 to 1."""
    return {name: all_figures(WHITE * x, WHITE * one, WHITE * two) for name, x in fused(fuser, one, two).items()}


def fused(fuser: Fuser, one: Floats, two: Floats) -> dict[str, Floats]:
    """What each method makes of two slices (x, y) of 0 to 1."""
    pair = [torch.from_numpy(np.ascontiguousarray(x))[None, None] for x in (one, two)]
    return {
        MAXIMUM: np.maximum(one, two),
        AVERAGE: (one + two) / 2,
        **{name: fuser.run(name, *pair).image[0, 0].numpy() for name in fuser.names},
    }


def _estimate(values: list[float]) -> dict[str, float | None]:
    found = bootstrap_mean(np.array(values)).as_dict() if len(values) > 1 else {"value": values[0]}
    return {name: None if value is None else round(value, DIGITS) for name, value in found.items()}


def _content(grey: Floats, pair: Pair) -> bool:
    return all(float(np.ptp(grey[channel])) >= CONTENT for channel in pair)


def _report(pair: str, patients: dict[str, list[dict[str, dict[str, float]]]]) -> Report:
    """Means over slices, of the patients who have any."""
    rows = []
    for patient, slices in patients.items():
        if slices:
            means = {m: {f: float(np.mean([s[m][f] for s in slices])) for f in FIGURES} for m in slices[0]}
            rows.append({"id": patient, "slices": len(slices), **means})
    if not rows:
        raise CasesError(f"No slice of {pair} shows anything of both; are those their modalities?")
    return Report(pair, rows)

"""How well maps tell where images are abnormal, in memory that does not grow with the size of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trainers.metrics.anomaly import Array, auroc, dice
from trainers.metrics.intervals import Estimate, bootstrap_mean

CUTS = 60
EXACT = 40_000_000
"""Voxels of maps that are kept as they are, 0.2 GB a method; of more only `Levels` are kept, all maps alike.

The 540 simulated lesions that a shipped model of volumes is measured with have 34 million."""
KEPT_BITS = 9
"""Of the 23 bits behind the point of a float32: levels are 0.2 % apart, and a map of 10 octaves has 5000, 60 kB."""
DROPPED = 23 - KEPT_BITS


@dataclass(frozen=True)
class Levels:
    """A map without places: how many voxels have each heat, rounded towards 0, and how many of them are abnormal.

    Attributes:
        values: float32 (n,), ascending. voxels, abnormal: uint32 (n,).
    """

    values: Array
    voxels: Array
    abnormal: Array

    @classmethod
    def of(cls, heat: Array, mask: Array) -> Levels:
        """Counts a map (*size) and where it is abnormal, bool (*size)."""
        keys = np.ascontiguousarray(heat, np.float32).view(np.uint32).ravel() >> DROPPED
        voxels = np.bincount(keys)
        abnormal = np.bincount(keys[mask.ravel()], minlength=len(voxels))
        used = np.flatnonzero(voxels).astype(np.uint32)
        values = (used << DROPPED).view(np.float32)
        order = np.argsort(values)
        used = used[order]
        return cls(values[order], voxels[used].astype(np.uint32), abnormal[used].astype(np.uint32))

    def auroc(self) -> float:
        """As `trainers.metrics.anomaly.auroc`; voxels of one level are ties. NaN if all or none are abnormal."""
        abnormal = self.abnormal.astype(np.float64)
        normal = self.voxels - abnormal
        if not normal.any() or not abnormal.any():
            return float("nan")
        below = np.cumsum(normal) - normal / 2
        return float((abnormal * below).sum() / (abnormal.sum() * normal.sum()))

    def dice(self, cuts: Array) -> Array:
        """Dice of the voxels above each of the cuts, (cuts,)."""
        first = np.searchsorted(self.values, cuts, side="right")
        found, hit = (_from_each(counts)[first] for counts in (self.voxels, self.abnormal))
        total = found + self.abnormal.sum(dtype=np.int64)
        return np.where(total > 0, 2 * hit / np.maximum(total, 1), 1.0)


@dataclass
class Marked:
    """Maps of abnormal images and where they are abnormal: (*size) each, in order; or, of many voxels, their levels.

    Attributes:
        heats, masks: of each image, up to `EXACT` voxels. levels: of each image if there are more; then the others are
            empty.
    """

    heats: list[Array] = field(default_factory=list)
    masks: list[Array] = field(default_factory=list)
    levels: list[Levels] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._voxels = sum(heat.size for heat in self.heats)

    def __len__(self) -> int:
        """Images."""
        return len(self.heats) + len(self.levels)

    def add(self, heat: Array, mask: Array) -> None:
        """Takes one more."""
        self._voxels += heat.size
        mask = mask.astype(bool, copy=False)
        if self._voxels > EXACT:
            self._condense()
            self.levels.append(Levels.of(heat, mask))
        else:
            self.heats.append(heat)
            self.masks.append(mask)

    def join(self, other: Marked) -> None:
        """Takes all of another one's."""
        for heat, mask in zip(other.heats, other.masks, strict=True):
            self.add(heat, mask)
        if other.levels:
            self._voxels += other._voxels
            self._condense()
            self.levels += other.levels

    def _condense(self) -> None:
        self.levels += [Levels.of(*pair) for pair in zip(self.heats, self.masks, strict=True)]
        self.heats.clear()
        self.masks.clear()


class _Found(NamedTuple):
    """AUROC of each image, (n,); cuts, (k,), and the Dice above each, (k, n); Dice of the calibrated one, (n,)."""

    areas: Array
    cuts: Array
    scores: Array
    calibrated: Array | None


def voxel_figures(marked: Marked, threshold: float | None, replicates: int = 1000) -> dict[str, Any]:
    """AUROC of voxels, the best Dice that one threshold for all images reaches, and the Dice of the calibrated one.

    Args:
        marked: maps and masks; of more than `EXACT` voxels heats are rounded by 0.2 % at most.
        threshold: the calibrated one; None leaves its Dice out.
        replicates: of the bootstrap over images.

    Images that are abnormal throughout have no AUROC and are not in its mean, which is NaN (None) if all are.
    """
    measured = _of_levels(marked.levels, threshold) if marked.levels else _of_maps(marked, threshold)
    best = int(measured.scores.mean(1).argmax())
    found = {"auroc": measured.areas, "best_dice": measured.scores[best]}
    if measured.calibrated is not None:
        found["calibrated_dice"] = measured.calibrated
    told = {name: _mean(values, replicates).as_dict() for name, values in found.items()}
    return {**told, "best_threshold": float(measured.cuts[best]), "threshold": threshold}


def _of_maps(marked: Marked, threshold: float | None) -> _Found:
    pairs = list(zip(marked.heats, marked.masks, strict=True))
    areas = np.array([_area(heat, mask) for heat, mask in pairs])
    pool = np.concatenate([heat.ravel() for heat in marked.heats])
    cuts = np.unique(np.quantile(pool, _shares()))
    scores = np.array([[dice(heat > cut, mask) for heat, mask in pairs] for cut in cuts])
    calibrated = None if threshold is None else np.array([dice(heat >= threshold, mask) for heat, mask in pairs])
    return _Found(areas, cuts, scores, calibrated)


def _area(heat: Array, mask: Array) -> float:
    """AUROC of an image's voxels; NaN if all or none of them are abnormal."""
    return auroc(heat[~mask], heat[mask]) if mask.any() and not mask.all() else float("nan")


def _of_levels(levels: Sequence[Levels], threshold: float | None) -> _Found:
    cuts = np.unique(_quantiles(levels, _shares()))
    areas = np.array([one.auroc() for one in levels])
    scores = np.array([one.dice(cuts) for one in levels]).T
    calibrated = None if threshold is None else np.array([one.dice(_below(threshold))[0] for one in levels])
    return _Found(areas, cuts, scores, calibrated)


def _shares() -> Array:
    """The quantiles of all heat that are tried as thresholds."""
    return 1 - np.geomspace(1e-5, 0.9, CUTS)


def _quantiles(levels: Sequence[Levels], shares: Array) -> Array:
    """Quantiles of the heat of all images."""
    values = np.concatenate([one.values for one in levels])
    order = np.argsort(values)
    upto = np.cumsum(np.concatenate([one.voxels for one in levels])[order], dtype=np.int64)
    return np.asarray(values[order][np.searchsorted(upto, np.floor(shares * (upto[-1] - 1)), side="right")])


def _below(threshold: float) -> Array:
    """The highest cut that the threshold's own level is above, (1,)."""
    level = (np.array([threshold], np.float32).view(np.uint32) >> DROPPED << DROPPED).view(np.float32)
    return np.nextafter(level, np.float32(-np.inf))


def _from_each(counts: Array) -> Array:
    """Of each level and those above, and 0 above the last: (n + 1,)."""
    return np.r_[np.cumsum(counts[::-1], dtype=np.int64)[::-1], 0]


def _mean(values: Array, replicates: int) -> Estimate:
    """The mean of those that are known."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else float("nan"), float("nan"), float("nan"))
    return bootstrap_mean(values, replicates)

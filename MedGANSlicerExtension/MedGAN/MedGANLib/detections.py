"""What was detected, as a plain record: the heat map in the scene, what its heat means, and the findings in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from .calibrations import Calibration
from .findings import Findings
from .records import ModelInfo


@dataclass(frozen=True)
class Detection:
    """A heat map in the scene; nodes are named by their IDs.

    Attributes:
        model: The model as the server describes it.
        version: Its version.
        volume: What it ran on.
        heat: The heat map.
        segmentation: Where the segment is that the heat map is turned into.
        calibration: What its heat means.
        largest: The largest heat.
        threshold: The heat from which on a voxel belongs to the segment.
        findings: The spots above it; of an earlier threshold while they are looked for.
        corrected: Whether the segment is left alone because the clinician corrected it.
        warnings: What the server remarked.
    """

    model: ModelInfo
    version: str
    volume: str
    heat: str
    segmentation: str
    calibration: Calibration
    largest: float
    threshold: float
    findings: Findings
    corrected: bool = False
    warnings: Tuple[str, ...] = ()

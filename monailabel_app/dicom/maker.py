"""Who made a result: the model, its version, and whether a clinician corrected it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from monailabel_app import __version__

MANUFACTURER = "MedGAN"
LONGEST = 64  # of a DICOM long string
UNKNOWN = "unknown"
AI = "AI-generated"


@dataclass(frozen=True)
class Maker:
    """What made a label or an image.

    Attributes:
        model, version: empty if a person made it without a model.
        corrected: whether a clinician submitted it.
        labels: name to value. colors: name to red, green, blue, 0 to 1.
        body_part: as the model's spec tells it. units: of an image that it made, `HU` or other.
    """

    model: str = ""
    version: str = ""
    corrected: bool = False
    labels: Mapping[str, int] = field(default_factory=dict)
    colors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    body_part: str = ""
    units: str = ""

    @property
    def told(self) -> str:
        """`AI-generated, corrected by a clinician`, and the like."""
        if not self.model:
            return "Drawn by a clinician"
        return f"{AI}, corrected by a clinician" if self.corrected else AI

    @property
    def series_description(self) -> str:
        """What a viewer shows of the series; it always begins with what it is."""
        return f"{self.told}: {self.model} {self.version}".strip(" :")[:LONGEST]

    @property
    def software(self) -> list[str]:
        """MedGAN's version, and the model's."""
        return [f"MedGAN {__version__}"[:LONGEST], f"model {self.version or UNKNOWN}"[:LONGEST]]


def made_here(series: Dataset) -> Maker | None:
    """The maker of a series that MedGAN made; None for an acquired one."""
    if str(series.get("Manufacturer", "")) != MANUFACTURER:
        return None
    versions = series.get("SoftwareVersions") or []
    told = [str(v) for v in ([versions] if isinstance(versions, str) else versions)]
    version = next((v.removeprefix("model ") for v in told if v.startswith("model ")), UNKNOWN)
    return Maker(str(series.get("ManufacturerModelName", "")) or UNKNOWN, version)

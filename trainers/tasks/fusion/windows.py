"""Windows: what of a modality's range is shown, as grey of 0 to 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.data.cases import CasesError

Floats = npt.NDArray[np.float32]
FUSION = "fusion"
"""The name of the measurement in a spec's `preprocess`."""
MODALITIES = ("CT", "MR", "PET")
GREY = "grey"
"""What is shown as it is, 0 to 255."""
WORDS = {
    "CT": re.compile(r"ct", re.IGNORECASE),
    "MR": re.compile(r"mri?|t[12][a-z]*|flair|dwi|adc|pd|swi", re.IGNORECASE),
    "PET": re.compile(r"pet|pt|suv", re.IGNORECASE),
}


@dataclass(frozen=True)
class Window:
    """The values that are black and white."""

    low: float
    high: float

    def grey(self, array: npt.NDArray[Any]) -> Floats:
        """Values to 0 to 1, float32; what lies outside is black or white."""
        grey = (np.asarray(array, np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.clip(grey, 0, 1)


@dataclass(frozen=True)
class Windows:
    """How the window of each modality is found; kept in a spec's `preprocess`.

    Attributes:
        ct: HU of soft tissue: level 40, width 400.
        mr: percentiles, since MR has no unit.
        pet: at least this SUV is white. pet_percentile: more is, if this percentile is higher, so that a hot tumour
            does not become a flat spot.
    """

    ct: tuple[float, float] = (-160.0, 240.0)
    mr: tuple[float, float] = (1.0, 99.5)
    pet: float = 5.0
    pet_percentile: float = 99.5

    @classmethod
    def of(cls, preprocess: Mapping[str, Any]) -> Windows:
        """Those of a spec. Raises ValueError if it is not one of fusion."""
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in preprocess.items()}
        if settings.pop("measurement", None) != FUSION:
            raise ValueError(f"These are not settings of fusion: {dict(preprocess)}.")
        try:
            return cls(**settings)
        except TypeError as error:
            raise ValueError(f"Fusion has other settings: {error}.") from error

    def of_image(self, array: npt.NDArray[Any], modality: str) -> Window:
        """The window of an image in HU, SUV or arbitrary units; GREY is 0 to 255.

        Raises:
            ValueError: a modality that there is not.
        """
        if modality == "CT":
            return Window(*self.ct)
        if modality == "MR":
            low, high = np.percentile(array, self.mr)
            return Window(float(low), float(high) if high > low else float(low) + 1)
        if modality == "PET":
            return Window(0.0, max(self.pet, float(np.percentile(array, self.pet_percentile))))
        if modality == GREY:
            return Window(0.0, 255.0)
        raise ValueError(f"There is no modality {modality!r}. Known: {', '.join((*MODALITIES, GREY))}.")


def modality_of(name: str) -> str:
    """The modality that a channel, file or folder is named for: `PET_SUV` is PET, `T1` and `MRI` are MR.

    Raises:
        CasesError: none, or more than one.
    """
    words = re.split(r"[-_ ./]", name)
    found = [modality for modality, known in WORDS.items() if any(known.fullmatch(word) for word in words)]
    if len(found) != 1:
        raise CasesError(f"{name!r} tells no modality. Name it, with --modality, or call it {', '.join(MODALITIES)}.")
    return found[0]

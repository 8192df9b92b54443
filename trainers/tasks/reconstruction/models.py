"""The models of this task by what they undo: all are loaded from a folder and offer `reconstruct`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.fusion.infer import Fuser
from trainers.tasks.reconstruction.infer import Reconstructed, Reconstructor
from trainers.tasks.reconstruction.slices import SliceReconstructor
from trainers.tasks.reconstruction.undersampled import UndersampledReconstructor


class ReconstructionModel(Protocol):
    """What the server and the command line need of a model."""

    spec: ModelSpec

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options of `reconstruct` that change what the model makes."""

    def reconstruct(
        self, images: Mapping[str, Volume], strength: float = 0.0, monitor: Monitor = Monitor(), **options: Any
    ) -> Reconstructed:
        """Makes an image of the spec's `inputs`, by name."""


MODELS: dict[str, Callable[..., ReconstructionModel]] = {
    "fusion": Fuser,
    "low_dose": SliceReconstructor,
    "translation": SliceReconstructor,
    "undersampling": UndersampledReconstructor,
}
"""By the measurement in a spec's `preprocess`; all others are `Reconstructor`."""

MADE = ("fusion", "translation")
"""Measurements whose images show what was not measured, with any weights: they are marked as if a GAN altered them."""


def open_model(folder: Path | str, device: str = "cpu") -> ReconstructionModel:
    """Loads a model that is ready to run. Raises ModelNotAvailable if its spec or weights cannot be used."""
    kind = str(ModelSpec.load(folder).preprocess.get("measurement", ""))
    return MODELS.get(kind, Reconstructor)(folder, device)

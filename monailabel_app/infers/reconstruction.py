"""Reconstruction: a better image of one or several, with a map of how far off it may be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monailabel_app.infers.base import ImageInfer, Outcome
from monailabel_app.infers.result import BUNDLE, Part
from monailabel_app.options import Schema, choice, share, switch, whole_number
from monailabel_app.synthetic import mark_of
from trainers.data import kspace
from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Monitor
from trainers.physics.kspace import KINDS
from trainers.tasks.reconstruction.infer import Reconstructed
from trainers.tasks.reconstruction.measurements import MEASUREMENTS, measurement_of
from trainers.tasks.reconstruction.models import MADE, ReconstructionModel, open_model
from trainers.tasks.reconstruction.run import GAN
from trainers.tasks.reconstruction.undersampled import UndersampledReconstructor

MOST_VOXELS = 2**27  # of a result, 512 x 512 x 512: half a GiB as float32, and as much for the uncertainty
MODALITIES = ("CT", "MR", "PET")
USUAL = ("CT", "PET")  # of several images, in order
UNITS = {"CT": "HU", "PET": "SUV"}
UNDERSAMPLED = "undersampling"
AGREES = {
    "super_resolution": "Averaged back, it equals what was measured to {}.",
    UNDERSAMPLED: "The lines of k-space that were measured are kept to {}.",
}
ADDS = "This model adds what was not measured."
UNCHECKED = "What was taken away as noise is not checked against a measurement."
INHERITED = "An image that was sent is synthetic or altered by a GAN; so is what was made of it."
BETWEEN = "Within that, a GAN added what was not measured."


class ReconstructionInfer(ImageInfer):
    """Makes an image finer, on a grid of its own, or a cleaner, a fused or another one."""

    task = "reconstruction"
    output = "volume"
    load = staticmethod(open_model)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.measurement = str(self.spec.preprocess.get("measurement", ""))

    def schema(self) -> Schema:
        """How much finer, how much faster, of which modalities, and how much of the adversarial weights."""
        properties: dict[str, Any] = {}
        if scales := self._scales():
            about = "How many voxels become of one along an axis."
            properties["scale"] = {**choice("Times finer", about, list(scales)), "default": next(iter(scales))}
        if self.measurement == UNDERSAMPLED:
            properties |= _faster()
        if len(self.reads) > 1:
            properties |= self._which_modalities()
        if (views := self._views()) > 1:
            about = f"The mean of {views} views: nearer to the truth, at {views} times the time. Not of large images."
            properties["test_time_augmentation"] = switch("Average several views", about, True)
        if GAN in self.spec.parts:
            about = "0 is the safe image; towards 1 a GAN adds texture, which may be invented and is marked so."
            properties["strength"] = share("GAN strength", about, 0.0)
        return {"type": "object", "properties": properties}

    def _views(self) -> int:
        """In how many views the safe image is made."""
        known = self.measurement in MEASUREMENTS
        return 1 + len(measurement_of(self.spec.preprocess).other_views) if known else 1

    def inputs(self) -> list[dict[str, Any]]:
        """Tells also of which input a k-space file can be sent."""
        told = super().inputs()
        return [{**i, "kspace": True} if self._takes_kspace(i["name"]) else i for i in told]

    def suffixes(self, name: str) -> tuple[str, ...]:
        """Of images and, if it reconstructs them, of k-space files."""
        return (*super().suffixes(name), *(kspace.SUFFIXES if self._takes_kspace(name) else ()))

    def check_file(self, name: str, path: Path) -> None:
        """K-space is looked at when it is read."""
        if not _is_kspace(path):
            super().check_file(name, path)

    def answer(
        self, loaded: ReconstructionModel, request: Mapping[str, Any], options: Mapping[str, Any], monitor: Monitor
    ) -> Outcome:
        """Reads images, or k-space, and reconstructs; what is made of a synthetic image is marked as it is."""
        outcome = self._reconstruct(loaded, request, options, monitor)
        marked = any(mark_of(Path(request[name])) for name in self.reads)
        return _inherited(outcome) if marked else outcome

    def _reconstruct(
        self, loaded: ReconstructionModel, request: Mapping[str, Any], options: Mapping[str, Any], monitor: Monitor
    ) -> Outcome:
        if not isinstance(loaded, UndersampledReconstructor) or not _is_kspace(request["image"]):
            wanted = {"uncertainty": request.get("result_extension") == BUNDLE}  # a single file has no place for it
            return super().answer(loaded, request, {**options, **wanted}, monitor)
        clock = time.perf_counter()
        measured = kspace.read_kspace(request["image"])
        slices, _, width, lines = measured.samples.shape
        check_size((width, lines, slices))
        started, strength = time.perf_counter(), options.get("strength", 0.0)
        views = bool(options.get("test_time_augmentation", True))
        result = loaded.reconstruct_kspace(measured, strength, monitor, views)
        seconds = {"read": started - clock, "infer": time.perf_counter() - started}
        return self._outcome(result, options, seconds)

    def run(
        self, loaded: ReconstructionModel, images: Mapping[str, Volume], options: Mapping[str, Any], monitor: Monitor
    ) -> Outcome:
        """Reconstructs the images."""
        told = {name: value for name, value in options.items() if name != "strength"}
        if "scale" in told:
            told["scale"] = self._scales()[told["scale"]]
        check_size(images["image"].shape, self._factors(told.get("scale", 1)))
        started = time.perf_counter()
        result = loaded.reconstruct(images, options.get("strength", 0.0), monitor, **told)
        return self._outcome(result, options, {"infer": time.perf_counter() - started})

    def _outcome(self, result: Reconstructed, options: Mapping[str, Any], seconds: dict[str, float]) -> Outcome:
        strength = options.get("strength", 0.0)
        altered = strength > 0 or self.measurement in MADE
        mark = {"altered": True, "strength": strength} if altered else {}
        units = {"units": self._units()}
        parts = [
            Part("image", "volume", result.image, {**units, **mark}),
            *([Part("uncertainty", "volume", result.uncertainty, units)] if result.uncertainty else []),
            *(self._beside(name, volume, options) for name, volume in result.beside.items()),
        ]
        about = {"contradiction": result.contradiction, "strength": strength, "gan_altered": altered}
        agreement = self._agreement(result.contradiction, strength)
        return Outcome(parts, list(result.warnings), seconds, {**about, "consistency": agreement})

    def _beside(self, name: str, volume: Volume, options: Mapping[str, Any]) -> Part:
        """What was sent, on the result's grid, in its own units."""
        modality = str(options.get(self._modalities().get(name, ""), name)).upper()
        taken = name in ("image", "uncertainty")
        details = {"units": UNITS.get(modality, "as the input"), "modality": modality if modality in MODALITIES else ""}
        return Part(f"{name}_input" if taken else name, "volume", volume, details)

    def _agreement(self, contradiction: float | None, strength: float) -> str:
        """How far the image can be trusted to show what was measured, for the clinician."""
        if self.measurement in MADE:
            return ADDS
        if contradiction is None:
            return UNCHECKED
        agrees = AGREES.get(self.measurement, "It agrees with what was measured to {}.").format(short(contradiction))
        return f"{agrees} {BETWEEN}" if strength > 0 else agrees

    def _units(self) -> str:
        known = self.measurement in MEASUREMENTS
        return measurement_of(self.spec.preprocess).units if known else "arbitrary"

    def _scales(self) -> dict[str, int]:
        """What can be asked for, by name; empty for a model that keeps the grid."""
        if self.measurement not in MEASUREMENTS:
            return {}
        return {f"{n}x": n for n in measurement_of(self.spec.preprocess).scales if n > 1}

    def _factors(self, scale: int) -> Sequence[int]:
        """How much finer the result is along each axis."""
        factors = measurement_of(self.spec.preprocess).factors if scale > 1 else ()
        return [1 if factor == 1 else scale for factor in factors]

    def _modalities(self) -> dict[str, str]:
        """Of each of several inputs, the option that names its modality."""
        return {name: f"{name}_modality" if place else "modality" for place, name in enumerate(self.reads)}

    def _which_modalities(self) -> dict[str, Any]:
        """The options that name the modality of each of several inputs."""
        told = {str(entry["name"]): str(entry.get("modality", "")) for entry in self.spec.inputs}
        found: dict[str, Any] = {}
        for place, (name, option) in enumerate(self._modalities().items()):
            usual = told[name] if told[name] in MODALITIES else USUAL[min(place, len(USUAL) - 1)]
            about = f"What {name!r} shows: CT in Hounsfield units, PET in SUV, MR as it is."
            title = option.replace("_", " ").capitalize()
            found[option] = {**choice(title, about, MODALITIES), "default": usual}
        return found

    def _takes_kspace(self, name: str) -> bool:
        return name == "image" and self.measurement == UNDERSAMPLED


def check_size(shape: Sequence[int], factors: Sequence[int] = ()) -> None:
    """Raises VolumeError `too_large` if what is made of an image of this shape would not fit into memory."""
    voxels = int(np.prod([*shape, *factors], dtype=object))
    if voxels > MOST_VOXELS:
        made, most = (f"{n / 1e6:.0f} million voxels" for n in (voxels, MOST_VOXELS))
        raise VolumeError(
            "too_large", f"The result would have {made}; {most} are the most.", "Crop it, or ask for less."
        )


def short(share: float) -> str:
    """A small number as people write it: `3e-7`."""
    digits, _, exponent = f"{share:.0e}".partition("e")
    return "0" if share == 0 else f"{digits}e{int(exponent)}"


def _inherited(outcome: Outcome) -> Outcome:
    """What was made of images that count as synthetic counts so too; how far off it may be is no image."""
    mark = {"altered": True, "strength": outcome.about["strength"]}
    parts = [p if p.name == "uncertainty" else replace(p, details={**p.details, **mark}) for p in outcome.parts]
    about = {**outcome.about, "gan_altered": True}
    return replace(outcome, parts=parts, warnings=[*outcome.warnings, INHERITED], about=about)


def _faster() -> dict[str, Any]:
    """How to simulate a faster scan; k-space that was measured has its own."""
    about = "How many times faster the scan is that is simulated; k-space that is sent has its own."
    kinds = "Which lines are measured beside those in the middle: at random, or evenly spaced."
    return {
        "acceleration": whole_number("Times faster", about, 4, 2, 8),
        "mask": {**choice("Lines", kinds, KINDS), "default": KINDS[0]},
    }


def _is_kspace(path: Path) -> bool:
    return path.suffix.lower() in kspace.SUFFIXES

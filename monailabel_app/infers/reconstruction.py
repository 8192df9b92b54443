"""Reconstruction: an image becomes a finer or a cleaner one, with a map of how far off it may be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from monailabel_app.infers.base import ImageInfer, Outcome
from monailabel_app.infers.result import Part
from monailabel_app.options import Schema, choice, share
from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Monitor
from trainers.tasks.reconstruction.infer import GAN, Reconstructor
from trainers.tasks.reconstruction.measurement import measurement_of

MOST_VOXELS = 2**27  # of a result, 512 x 512 x 512: half a GiB as float32, and as much for the uncertainty


class ReconstructionInfer(ImageInfer):
    """Makes an image finer, on a grid of its own, or takes its noise away, on its own grid."""

    task = "reconstruction"
    output = "volume"
    load = Reconstructor

    def schema(self) -> Schema:
        """How much finer, and how much of the adversarial weights."""
        properties: dict[str, Any] = {}
        if scales := self._scales():
            properties["scale"] = {
                **choice("Times finer", "How many voxels become of one along an axis.", list(scales)),
                "default": next(iter(scales)),
            }
        if GAN in self.spec.parts:
            about = "0 is the safe image; towards 1 a GAN adds texture, which may be invented and is marked so."
            properties["strength"] = share("GAN strength", about, 0.0)
        return {"type": "object", "properties": properties}

    def run(self, loaded: Reconstructor, image: Volume, options: Mapping[str, Any], monitor: Monitor) -> Outcome:
        """Reconstructs `image`."""
        strength, scale = options.get("strength", 0.0), self._scales().get(options.get("scale", ""), 1)
        check_size(image, [f if f == 1 else scale for f in loaded.measurement.factors])
        started = time.perf_counter()
        result = loaded(image, strength, scale, monitor)
        altered = {"altered": True, "strength": strength} if strength > 0 else {}
        parts = [
            Part("image", "volume", result.image, {"units": "as the input", **altered}),
            Part("uncertainty", "volume", result.uncertainty, {"units": "as the input"}),
        ]
        about = {"contradiction": result.contradiction, "strength": strength, "gan_altered": strength > 0}
        return Outcome(parts, list(result.warnings), {"infer": time.perf_counter() - started}, about)

    def _scales(self) -> dict[str, int]:
        """What can be asked for, by name; empty for a model that keeps the grid."""
        return {f"{n}x": n for n in measurement_of(self.spec.preprocess).scales if n > 1}


def check_size(image: Volume, factors: list[int]) -> None:
    """Raises VolumeError `too_large` if a finer image would not fit into memory."""
    voxels = image.array.size
    for factor in factors:
        voxels *= factor
    if voxels > MOST_VOXELS:
        made, most = (f"{n / 1e6:.0f} million voxels" for n in (voxels, MOST_VOXELS))
        raise VolumeError(
            "too_large", f"The result would have {made}; {most} are the most.", "Crop it, or ask for less."
        )

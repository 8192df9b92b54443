"""Undersampled MR as it is served: of an image, whose faster scan is simulated, or of k-space that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import nibabel.orientations as orientations
import numpy as np

from trainers.data.kspace import KSpace
from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.tasks.reconstruction.infer import Reconstructed, Reconstructor, back, order_of
from trainers.tasks.reconstruction.kspace import reconstruct_kspace, simulate

SIMULATED = (
    "The undersampling was simulated: of the image that was sent, lines were left out ({faster:g} times faster, "
    "{mask}). No scanner measured it so."
)


class UndersampledReconstructor(Reconstructor):
    """A model of undersampling, ready to run on images and on k-space."""

    most_viewed = 2**20  # 256 x 256 x 16 samples: slices cost less than volumes, but there are eight views

    @property
    def options(self) -> tuple[str, ...]:
        """Of `reconstruct`, beside `test_time_augmentation`."""
        return ("acceleration", "mask", "seed")

    def reconstruct(
        self, images: Mapping[str, Volume], strength: float = 0.0, monitor: Monitor = Monitor(), **options: Any
    ) -> Reconstructed:
        """Simulates a faster scan of an image and reconstructs it, on the image's grid.

        Args:
            images: `image`, a magnitude. Slices lie across its thickest axis.
            strength: between the safe and the adversarial weights.
            monitor: hears `progress`; may cancel.
            **options: `acceleration`, by default 4; `mask`, `random` (default) or `equispaced`; `seed` of both;
                `test_time_augmentation`, on by default. The lines in the middle are always measured, so that small
                slices cannot be much faster; a warning tells by how much they are.

        Raises:
            VolumeError: values below 0, or slices too small to look at. ValueError: no such strength, mask or seed.
        """
        self.check_strength(strength)
        told = {"acceleration": 4.0, "mask": "random", "seed": 0, **options}
        seed = told["seed"]
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"{seed!r} is no seed. Give a whole number, 0 or more.")
        volume = images["image"]
        order = order_of(volume.affine, thick_last=True)
        turned = Volume(orientations.apply_orientation(np.asarray(volume.array), order), np.eye(4))
        measured = simulate(turned, float(told["acceleration"]), str(told["mask"]), seed)
        faster = round(measured.lines.size / measured.lines.sum(), 1)
        views = bool(told.get("test_time_augmentation", True))
        found = reconstruct_kspace(self, measured, strength, turned.affine, monitor, views)
        assert found.uncertainty is not None
        return replace(
            found,
            image=back(found.image.array, order, volume.affine),
            uncertainty=back(found.uncertainty.array, order, volume.affine),
            warnings=[SIMULATED.format(faster=faster, mask=told["mask"]), *found.warnings],
        )

    def reconstruct_kspace(
        self, measured: KSpace, strength: float = 0.0, monitor: Monitor = Monitor(), views: bool = True
    ) -> Reconstructed:
        """Reconstructs what a scanner measured; see `kspace.reconstruct_kspace`."""
        return reconstruct_kspace(self, measured, strength, monitor=monitor, views=views)

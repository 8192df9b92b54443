"""Making another image of a volume slice by slice: a CT without the noise of a low dose, or another modality."""

from __future__ import annotations

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
import torch

from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Monitor
from trainers.tasks.reconstruction.infer import GAN_WARNING, Reconstructed, Reconstructor, back, empty, order_of
from trainers.tasks.reconstruction.paired import Paired, Translation
from trainers.tasks.reconstruction.run import AT_ONCE

SMALLEST = 16
TRANSLATED = "No {made} was acquired: this image was made of another modality, and disease may be missing or added."
Floats = npt.NDArray[np.float32]


class SliceReconstructor(Reconstructor):
    """A model of a `Paired` measurement, ready to run on volumes."""

    most_viewed = 2**22  # 512 x 512 x 16: slices cost less than volumes

    def __call__(
        self,
        volume: Volume,
        strength: float = 0.0,
        scale: int | None = None,
        monitor: Monitor = Monitor(),
        views: bool = True,
        uncertainty: bool = True,
    ) -> Reconstructed:
        """Makes the image on the volume's grid; see `Reconstructor`. The thickest axis is the one of the slices."""
        assert isinstance(self.measurement, Paired)
        self.check_strength(strength)
        self._turns(scale)
        views = views and self.looks_often(volume.array.size)
        order = order_of(volume.affine, thick_last=True)
        array = orientations.apply_orientation(volume.array, order)
        if min(array.shape[:2]) < SMALLEST:
            hint = f"Give a volume with slices of at least {SMALLEST} x {SMALLEST} pixels."
            raise VolumeError("cannot_process", f"Slices of {array.shape[:2]} pixels are too small.", hint)
        width, height, slices = array.shape
        image = empty(array.shape, order)
        doubt = np.empty((slices, width, height), np.float32).transpose(1, 2, 0) if uncertainty else None
        self._slices(self.measurement.sources(array), image, doubt, strength, views, monitor)
        told = None if doubt is None else back(doubt, order, volume.affine)
        return Reconstructed(back(image, order, volume.affine), told, None, self._warnings(strength))

    def _slices(
        self, sources: Floats, image: Floats, doubt: Floats | None, strength: float, views: bool, monitor: Monitor
    ) -> None:
        """Fills in the image and, if there is room for it, its expected error, (x, y, z) in its own units."""
        assert isinstance(self.measurement, Paired)
        shape, unit = sources.shape[1:], self.measurement.target
        pad = [(0, 0), (0, 0), *((0, -n % m) for n, m in zip(shape, self.measurement.multiple(), strict=False))]
        for start in range(0, shape[2], AT_ONCE):
            monitor.check()
            part = slice(start, min(start + AT_ONCE, shape[2]))
            seen = np.moveaxis(sources[..., part], 3, 0)
            seen = np.pad(seen, pad, mode="edge") if any(map(any, pad)) else np.ascontiguousarray(seen)
            given = {self.measurement.given: torch.from_numpy(seen)}
            if doubt is None:
                made = self.blend_alone(given, strength, views)
            else:
                made, error = self.blend(given, strength, views)
                doubt[..., part] = np.moveaxis(error[:, 0, : shape[0], : shape[1]].numpy() * unit.scale, 0, 2)
            for number, one in enumerate(made[:, 0, : shape[0], : shape[1]], start):
                # torch transposes in blocks, which is several times faster
                image[..., number] = unit.to_values(one.t().contiguous().numpy()).T
            monitor.report(progress=part.stop / shape[2])

    def _warnings(self, strength: float) -> list[str]:
        measured = self.measurement
        told = [TRANSLATED.format(made=measured.made)] if isinstance(measured, Translation) else []
        return [*told, *([GAN_WARNING] if strength > 0 else [])]

"""Fusing two volumes of one patient, of any size and orientation, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainers.data.alignment import align
from trainers.data.volumes import Volume, VolumeError
from trainers.devices import pick_device
from trainers.monitor import Monitor
from trainers.networks.reconstruction import Reconstruction
from trainers.spec import ModelSpec
from trainers.tasks.fusion.windows import MODALITIES, Floats, Window, Windows
from trainers.tasks.reconstruction.infer import GAN_WARNING, Reconstructed, order_of
from trainers.tasks.reconstruction.run import GAN, blended, check_strength, load_networks

SAFE = "safe"
WHITE = 255.0
INPUTS = ("image", "second")
USUAL = ("CT", "PET")
MODALITY_OPTIONS = ("modality", "second_modality")
AT_ONCE = 4  # slices
COVERED = 0.99  # a field that is seen by this share is taken for all of it
FLAT = 0.1  # of the window: with less than that between its extremes, an image shows nothing
PARTLY = "The {second} covers {share:.0%} of the {first}; elsewhere only the {first} is seen."
HIGHEST_SUV = 100.0  # of the 99.5th percentile; no organ takes up so much
NO_SUV = "The {name} has values up to {high:.0f}, far above any SUV: they are probably Bq/ml. Convert it to SUV."
NO_CONTRAST = "The {name} shows next to nothing in the usual window of {modality}; is that its modality?"


class Fuser:
    """A fusion model that is ready to run on volumes. Safe to call from several threads."""

    def __init__(self, model_dir: Path | str, device: str = "cpu") -> None:
        """Loads `model_dir`. Raises ModelNotAvailable if its spec or weights cannot be used."""
        spec, folder = ModelSpec.load(model_dir), Path(model_dir)
        self._set(spec, load_networks(spec, folder, SAFE), pick_device(device))

    @classmethod
    def from_networks(cls, spec: ModelSpec, network: nn.Module, gan: nn.Module | None = None) -> Fuser:
        """Wraps networks that are in memory, on the device they are on."""
        fuser = cls.__new__(cls)
        networks = {SAFE: network} if gan is None else {SAFE: network, GAN: gan}
        fuser._set(spec, networks, next(network.parameters()).device)
        return fuser

    def _set(self, spec: ModelSpec, networks: dict[str, nn.Module], device: torch.device) -> None:
        self.spec, self.device, self.windows = spec, device, Windows.of(spec.preprocess)
        self._networks = {name: network.to(device).eval() for name, network in networks.items()}

    @property
    def options(self) -> tuple[str, ...]:
        """Of `reconstruct`."""
        return MODALITY_OPTIONS

    @property
    def names(self) -> list[str]:
        """`safe` and, if there are adversarial weights, `gan`."""
        return list(self._networks)

    def reconstruct(
        self, images: Mapping[str, Volume], strength: float = 0.0, monitor: Monitor = Monitor(), **options: Any
    ) -> Reconstructed:
        """Fuses two images on the grid of the first.

        Args:
            images: `image` and `second`, in HU (CT), SUV (PET) or any unit (MR), with one frame of reference.
            strength: 0 takes the safe weights, 1 the adversarial ones, between them a blend of both images.
            monitor: hears `progress`; may cancel.
            **options: `modality` of the first, by default CT, and `second_modality`, by default PET.

        Returns:
            The image in grey of 0 to 255. Its uncertainty, in the same unit, is how far from the nearer of both sources
            the network expects a pixel to be, or what the adversarial weights changed, whichever is more: there is no
            true fused image to be off from. Both sources are beside it, in their own units, named for their modality.

        Raises:
            VolumeError: an image that is missing, no volume, or elsewhere. ValueError: no such strength or modality.
        """
        check_strength(self.spec, self.names, strength)
        modalities = _modalities(options)
        first, second = (_volume(images, name) for name in INPUTS)
        aligned, share = align(second, first)
        sources = [np.asarray(first.array), aligned]
        windows = [self.windows.of_image(x, modality) for x, modality in zip(sources, modalities, strict=True)]
        image, doubt = self._volume(first, sources, windows, strength, monitor)
        names = (
            modalities if modalities[0] != modalities[1] else tuple(f"{m} {i + 1}" for i, m in enumerate(modalities))
        )
        beside = dict(zip(names, (first, first.like(aligned)), strict=True))
        warnings = _warnings(names, modalities, sources, windows, share)
        if strength > 0:
            warnings.append(GAN_WARNING)
        return Reconstructed(first.like(image), first.like(doubt), None, warnings, beside)

    def run(self, name: str, image: torch.Tensor, second: torch.Tensor) -> Reconstruction:
        """What the weights of a name make of slices of 0 to 1, (b, 1, x, y), on the CPU."""
        with torch.inference_mode():
            found = self._networks[name](image.to(self.device), second.to(self.device))
        return Reconstruction(*(x.float().cpu() for x in found))

    def _volume(
        self, first: Volume, sources: Sequence[npt.NDArray[Any]], windows: Sequence[Window], strength: float,
        monitor: Monitor,
    ) -> tuple[Floats, Floats]:  # fmt: skip
        """The image and its uncertainty, in grey of 0 to 255. The thickest axis is the one of the slices."""
        order = order_of(first.affine, thick_last=True)
        image, doubt = np.empty(first.shape, np.float32), np.empty(first.shape, np.float32)
        one, two, made, off = (orientations.apply_orientation(x, order) for x in (*sources, image, doubt))  # views
        depth = one.shape[2]
        for start in range(0, depth, AT_ONCE):
            monitor.check()
            part = slice(start, min(start + AT_ONCE, depth))
            pair = [_slices(w.grey(x[..., part])) for x, w in zip((one, two), windows, strict=True)]
            fused, error = self._blend(pair[0], pair[1], strength)
            made[..., part], off[..., part] = _stack(fused), _stack(error)
            monitor.report(progress=part.stop / depth)
        return image, doubt

    def _blend(self, one: torch.Tensor, two: torch.Tensor, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The image between the safe and the adversarial one, and its uncertainty."""
        return blended(self.run(SAFE, one, two), lambda: self.run(GAN, one, two).image, strength)


def _modalities(options: Mapping[str, Any]) -> tuple[str, str]:
    found = [str(options.get(name) or usual) for name, usual in zip(MODALITY_OPTIONS, USUAL, strict=True)]
    for name, modality in zip(MODALITY_OPTIONS, found, strict=True):
        if modality not in MODALITIES:
            raise ValueError(f"There is no {name} {modality!r}; choose one of {', '.join(MODALITIES)}.")
    return found[0], found[1]


def _volume(images: Mapping[str, Volume], name: str) -> Volume:
    """One of the inputs. Raises VolumeError if it is missing or a picture."""
    if images.get(name) is None:
        hint = "Choose two images of one patient, for example a CT and a PET."
        raise VolumeError("cannot_process", f"Fusion needs two images; {name!r} is missing.", hint)
    volume = images[name]
    if volume.array.ndim != 3 or min(volume.shape) < 2:
        size = " x ".join(map(str, volume.shape))
        raise VolumeError("cannot_process", f"The image {name!r} of {size} is no volume.", "Give a 3D image.")
    return volume


def _warnings(
    names: Sequence[str], modalities: Sequence[str], sources: Sequence[npt.NDArray[Any]], windows: Sequence[Window],
    share: float,
) -> list[str]:  # fmt: skip
    found = []
    for name, modality, source, window in zip(names, modalities, sources, windows, strict=True):
        low, high = window.grey(np.array([source.min(), source.max()]))
        if high - low < FLAT:
            found.append(NO_CONTRAST.format(name=name, modality=modality))
        if modality == "PET" and window.high > HIGHEST_SUV:
            found.append(NO_SUV.format(name=name, high=float(source.max())))
    if share < COVERED:
        found.append(PARTLY.format(first=names[0], second=names[1], share=share))
    return found


def _slices(grey: Floats) -> torch.Tensor:
    """(x, y, z) to (z, 1, x, y)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(grey, 2, 0)[:, None]))


def _stack(slices: torch.Tensor) -> Floats:
    """(z, 1, x, y) of 0 to 1 to (x, y, z) of 0 to 255."""
    return np.moveaxis(WHITE * slices[:, 0].numpy(), 0, 2)

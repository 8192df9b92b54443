"""Making images with a trained model: by seed, for a class, or to fill a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.networks.utils import one_hot
from torch import nn

from trainers.data.volumes import Volume, VolumeError
from trainers.devices import pick_device
from trainers.monitor import Monitor
from trainers.networks import load
from trainers.networks.generator import Generator
from trainers.preprocess import CanonicalGrid, Window
from trainers.spec import WEIGHTS_FILE, ModelSpec, part_file
from trainers.tasks.synthesis.images import Floats, Labels, SynthesisPreprocess, middle_of, to_intensity, to_volume
from trainers.tasks.synthesis.shapes import draw_label

SEEDS = 2**31


@dataclass(frozen=True)
class Synthetic:
    """One made image.

    Attributes:
        image: in the model's units, whole numbers; a picture has one slice.
        label: uint8 label values on the same grid, if the model fills label maps.
        seed: makes this image again, alone, with the same class and mask.
        target: its class. modality: of the image. Either may be None.
    """

    image: Volume
    label: Volume | None
    seed: int
    target: str | None
    modality: str | None = None


@dataclass(frozen=True)
class Made:
    """One made image as the networks know it: `image` (channel, *window) in [-1, 1], class indices, and `targets`."""

    image: Floats
    label: Labels | None
    targets: list[int]


class Synthesizer:
    """A synthesis model that is ready to run. Safe to call from several threads."""

    def __init__(self, model_dir: Path | str, device: str = "cpu") -> None:
        """Loads `model_dir`. Raises ModelNotAvailable if its spec or weights cannot be used."""
        spec, folder = ModelSpec.load(model_dir), Path(model_dir)
        generator = load(spec.network, folder / WEIGHTS_FILE)
        masks = load(spec.parts["masks"], part_file(folder, "masks")) if "masks" in spec.parts else None
        self._set(spec, generator, masks, pick_device(device))

    @classmethod
    def from_networks(cls, spec: ModelSpec, generator: nn.Module, masks: nn.Module | None = None) -> Synthesizer:
        """Wraps networks that are in memory, on the device they are on."""
        synthesizer = cls.__new__(cls)
        synthesizer._set(spec, generator, masks, next(generator.parameters()).device)
        return synthesizer

    def _set(self, spec: ModelSpec, generator: nn.Module, masks: nn.Module | None, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.settings = SynthesisPreprocess(**spec.preprocess)
        self.values = np.array([0, *spec.labels.values()], np.uint8)
        self._generator = generator.to(device).eval()
        self._masks = masks.to(device).eval() if masks is not None else None

    @property
    def accepts_mask(self) -> bool:
        """Whether a label map can be given to fill; a picture has no voxel size to bring one to."""
        return self._fills_maps and bool(self.settings.spacing)

    @property
    def _fills_maps(self) -> bool:
        """Whether images are made to a label map; a spec also names labels of images that it learned without."""
        return bool(getattr(self._generator, "maps", 0))

    def __call__(
        self,
        number: int = 1,
        seed: int = 0,
        target: str | None = None,
        mask: Volume | None = None,
        modality: str | None = None,
        monitor: Monitor = Monitor(),
    ) -> list[Synthetic]:
        """Makes images.

        Args:
            number: how many.
            seed: of the first; the others have the seeds that follow.
            target: class name; None draws it as often as it was among the training images.
            mask: label map to fill, in any orientation and spacing; None draws one.
            modality: name; None draws it.
            monitor: hears `progress` from 0 to 1; may cancel between images.

        Raises:
            VolumeError: `wrong_labels`, for a mask that is empty, has values that are not known, or is not wanted.
            ValueError: a class or modality that is not known, or a number below 1. Cancelled: from the monitor.
        """
        if number < 1:
            raise ValueError(f"The number of images must be at least 1, not {number}.")
        label, affine = self._given(mask) if mask is not None else (None, None)
        made = []
        for index in range(number):
            monitor.check()
            one = (seed + index) % SEEDS
            made.append(self._finish(self.make(one, target, label, modality), one, affine))
            monitor.report(progress=(index + 1) / number)
        return made

    @torch.inference_mode()
    def make(
        self, seed: int, target: str | None = None, label: Labels | None = None, modality: str | None = None
    ) -> Made:
        """One image as the networks know it; depends on the arguments alone. Raises ValueError as calling does."""
        rng = torch.Generator().manual_seed(seed)
        targets = self._targets(target, modality, rng)
        if label is None and self._masks is not None:
            label = draw_label(
                self._masks, self.settings.window, list(self.spec.training["label_voxels"].values()), rng
            )
        latents = [x.to(self.device) for x in cast(Generator, self._generator).latents(1, rng)]
        told = torch.tensor([targets], device=self.device) if targets else None
        image = self._generator(latents, told, self._maps(label))[0].float().cpu().numpy()
        return Made(image, label, targets)

    def _targets(self, target: str | None, modality: str | None, rng: torch.Generator) -> list[int]:
        """What the generator is told, in the order of its categories."""
        told = bool(cast(Generator, self._generator).categories)
        known = (self.spec.classes, self.spec.modalities) if told else ([], [])
        named = [(known[0], target, "class"), (known[1], modality, "modality")]
        for names, wanted, kind in named:
            if wanted is not None and wanted not in names:
                raise ValueError(f"There is no {kind} {wanted!r}. Known: {', '.join(names) or 'none'}.")
        return [self._category(names, wanted, kind, rng) for names, wanted, kind in named if names]

    def _category(self, names: Sequence[str], wanted: str | None, kind: str, rng: torch.Generator) -> int:
        shares = self.spec.training.get(f"{kind}_share", {}) if wanted is None else {}
        weights = torch.tensor([float(shares.get(name, 1.0)) for name in names])
        drawn = int(torch.multinomial(weights, 1, generator=rng))
        return drawn if wanted is None else names.index(wanted)

    def _maps(self, label: Labels | None) -> torch.Tensor | None:
        if label is None or not self._fills_maps:
            return None
        indices = torch.from_numpy(label.astype(np.int64))[None, None].to(self.device)
        return one_hot(indices, len(self.values))

    def _given(self, mask: Volume) -> tuple[Labels, Any]:
        """A mask on the model's window, centred on it, and where that window lies."""
        if not self.accepts_mask:
            raise VolumeError("wrong_labels", f"{self.spec.name} cannot fill a mask.", "Leave the mask out.")
        present = set(np.unique(mask.array).tolist()) - {0}
        known = set(self.spec.labels.values())
        if not present or present - known:
            found = f"has the values {sorted(present)}" if present else "is empty"
            raise VolumeError("wrong_labels", f"The mask {found}.", f"Known values: {sorted(known)}.")
        grid = CanonicalGrid(mask, self.settings.spacing)
        whole = grid.extract_label(mask.array, grid.whole())
        if not whole.any():
            raise VolumeError(
                "wrong_labels", "The mask is too small to be seen at the model's voxel size.", "Draw more."
            )
        window = Window.around(middle_of(whole > 0), self.settings.window)
        classes = np.zeros(256, np.uint8)
        classes[self.values] = np.arange(len(self.values))
        affine = grid.affine.copy()
        affine[:3, 3] = (grid.affine @ [*window.start, 1.0])[:3]
        return classes[grid.extract_label(mask.array, window)], affine

    def _finish(self, made: Made, seed: int, affine: Any) -> Synthetic:
        """A made image as a volume with units; colour pictures become grey, for a volume has one value a voxel."""
        image = to_volume(to_intensity(made.image.mean(0), self.settings), self.settings, affine)
        label = None if made.label is None else to_volume(self.values[made.label], self.settings, affine)
        names = iter(made.targets)
        target = self.spec.classes[next(names)] if self.spec.classes and made.targets else None
        modality = self.spec.modalities[next(names)] if self.spec.modalities and made.targets else None
        return Synthetic(image, label, seed, target, modality)

"""Running a model's networks on what was measured: in bounded memory, in several views, and blended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from trainers.networks import load
from trainers.networks.reconstruction import Reconstruction, expected_error
from trainers.spec import WEIGHTS_FILE, ModelSpec, part_file
from trainers.tasks.reconstruction.measurement import Measured, Measurement, View
from trainers.tasks.reconstruction.tiles import Slices, finer, tiles

GAN = "gan"
AT_ONCE = 8  # slices


class Runner:
    """The networks of a model: `l1` and perhaps `gan`.

    Attributes:
        measurement: what they undo.
        most_viewed: voxels of an image up to which it is looked at in several views: a whole head would take minutes.
        side, halo: voxels of a tile, and around it. A network that keeps the grid works on one coarser by two and looks
            twice as far. The layers of the recipes' networks could look some voxels farther still; `python -m
            benchmarks reconstruction` measures what that is worth.
    """

    measurement: Measurement
    most_viewed: int = 2**19
    side: int = 64
    halo: int = 8

    def take(self, measurement: Measurement, networks: Mapping[str, nn.Module], device: torch.device) -> None:
        """Takes networks of a measurement, and moves them to a device."""
        self.measurement, self.device = measurement, device
        self._networks = {name: network.to(device).eval() for name, network in networks.items()}

    @property
    def names(self) -> list[str]:
        """`l1` and, if there are adversarial weights, `gan`."""
        return list(self._networks)

    def blend(self, measured: Measured, strength: float, views: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """The image between the safe and the adversarial one, and how far off it may be.

        Both agree with the measurement, so the blend does. What the adversarial weights changed is doubted too. The
        adversarial image is of one view: a mean of several has no texture.
        """
        safe = self.run("l1", measured, views=views)
        return blended(safe, self._altered(measured), strength)

    def blend_alone(self, measured: Measured, strength: float, views: bool = True) -> torch.Tensor:
        """The image of `blend` alone, which is made sooner."""
        return blended_image(self.run("l1", measured, views=views).image, self._altered(measured), strength)

    def _altered(self, measured: Measured) -> Callable[[], torch.Tensor]:
        return lambda: self.run(GAN, measured, views=False).image

    def looks_often(self, voxels: int) -> bool:
        """Whether an image of so many voxels is looked at in several views."""
        return voxels <= self.most_viewed

    def run(self, name: str, measured: Measured, turns: int = 1, views: bool = True) -> Reconstruction:
        """What the weights of a name make of a measurement, in so many turns, on the CPU.

        With `views` it is the mean over several, e.g. mirrored ones: Lim et al., "Enhanced deep residual networks for
        single image super-resolution", CVPRW 2017, section 3.4. Each of them agrees with the measurement, so the mean
        does. Where they differ by more than the network expects to be off, that is doubted.
        """
        found = self._pass(name, measured, views)
        for _ in range(turns - 1):
            found = self._pass(name, {self.measurement.given: found.image}, views)
        return found

    def _pass(self, name: str, measured: Measured, views: bool) -> Reconstruction:
        """One turn, in bounded memory: some slices at a time, or in tiles."""
        given = measured[self.measurement.given]
        if self.measurement.dimensions == 2:
            parts = [self._infer(name, part, views) for part in _some(measured, len(given))]
            return Reconstruction(*(torch.cat(x) for x in zip(*parts, strict=True)))
        if max(given.shape[2:]) <= self.side + 2 * self.halo * max(self._multiple()):
            return self._infer(name, measured, views)
        factors, multiple = self.measurement.factors, self._multiple()
        size = [n * f for n, f in zip(given.shape[2:], factors, strict=True)]
        whole = Reconstruction(*(torch.empty(*given.shape[:2], *size) for _ in range(2)))
        for tile in tiles(given.shape[2:], self.side, self.halo * max(multiple), multiple):
            made = self._infer(name, {self.measurement.given: given[_all(tile.seen)]}, views)
            for into, part in zip(whole, made, strict=True):
                into[_all(finer(tile.kept, factors))] = part[_all(finer(tile.inner, factors))].float()
        return whole

    def _infer(self, name: str, measured: Measured, views: bool) -> Reconstruction:
        others = self.measurement.other_views if views else ()
        found = self._mean(name, measured, others) if others else self._once(name, measured)
        most = self.measurement.most_doubt(measured)
        if most is None:
            return found
        return found._replace(log_error=torch.minimum(found.log_error, most.clamp(min=1e-6).log()))

    def _mean(self, name: str, measured: Measured, others: Sequence[View]) -> Reconstruction:
        first = self._once(name, measured)
        total, squares, error = first.image.clone(), first.image.abs().square(), expected_error(first.log_error)
        for view in others:
            image, log_error = (view(x) for x in self._once(name, self.measurement.seen(measured, view)))
            total += image
            squares += image.abs().square()
            error += expected_error(log_error)
        count = 1 + len(others)
        mean = total / count
        spread = (squares / count - mean.abs().square()).clamp(min=0).sqrt()
        return Reconstruction(mean, torch.maximum(error / count, spread).log())

    def _once(self, name: str, measured: Measured) -> Reconstruction:
        with torch.inference_mode():
            found = self._networks[name](**{key: value.to(self.device) for key, value in measured.items()})
        return Reconstruction(*(x.cpu() for x in found))

    def _multiple(self) -> tuple[int, ...]:
        """Of the sizes of what is put in; a network that makes images finer takes any."""
        return self.measurement.multiple() if self.measurement.factors == (1, 1, 1) else (1, 1, 1)


def blended(
    safe: Reconstruction, altered: Callable[[], torch.Tensor], strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `blended_image`, and how far off it may be: what the adversarial weights changed is doubted too."""
    image, error = blended_image(safe.image, altered, strength), expected_error(safe.log_error)
    return image, torch.maximum(error, (image - safe.image).abs()) if strength > 0 else error


def blended_image(safe: torch.Tensor, altered: Callable[[], torch.Tensor], strength: float) -> torch.Tensor:
    """The image between a safe and an adversarial one, which is made only if it counts."""
    return safe + strength * (altered() - safe) if strength > 0 else safe


def load_networks(spec: ModelSpec, folder: Path, first: str = "l1") -> dict[str, nn.Module]:
    """A model's networks by name: the safe one, and `gan` if there is one.

    Raises:
        ModelNotAvailable: weights are missing or of another network.
    """
    networks = {first: load(spec.network, folder / WEIGHTS_FILE)}
    if GAN in spec.parts:
        networks[GAN] = load(spec.parts[GAN], part_file(folder, GAN))
    return networks


def check_strength(spec: ModelSpec, names: Collection[str], strength: float) -> None:
    """Raises ValueError for a strength that a model with weights of these names does not have."""
    if not 0 <= strength <= 1 or (strength and GAN not in names):
        known = "0 to 1" if GAN in names else "0: it has no adversarial weights"
        raise ValueError(f"{spec.name} has no strength {strength:g}; choose {known}.")


def _all(part: Slices) -> Slices:
    """A part of each image, (b, c, *size)."""
    return (slice(None), slice(None), *part)


def _some(measured: Measured, slices: int) -> list[Measured]:
    """A measurement of slices in parts of AT_ONCE."""
    starts = range(0, slices, AT_ONCE)
    return [{key: value[start : start + AT_ONCE] for key, value in measured.items()} for start in starts]

"""A reconstruction as a plain record: what was made of what, how far off it may be, and whether a GAN altered it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Tuple

from .records import ModelInfo

AS_INPUT = "as the input"


@dataclass(frozen=True)
class Reconstruction:
    """A reconstruction in the scene; nodes are named by their IDs.

    Attributes:
        model: The model as the server describes it.
        version: Its version.
        inputs: Input's name -> volume that it was made of; none when it was made of k-space.
        image: The volume that was made.
        uncertainty: The volume with the error that is expected of each voxel; empty when there is none.
        beside: Part's name -> volume that belongs beside the image, as it was sent.
        altered: Whether a GAN altered it, or a network made it up.
        consistency: How far it agrees with what was measured, in a sentence.
        units: Of image and uncertainty; `as the input` when nothing else is known.
        largest: The largest uncertainty. usual: what 99 of 100 voxels are below.
        warnings: What the server remarked.
    """

    model: ModelInfo
    version: str
    inputs: Mapping[str, str]
    image: str
    uncertainty: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    altered: bool = False
    consistency: str = ""
    units: str = AS_INPUT
    largest: float = 0.0
    usual: float = 0.0
    warnings: Tuple[str, ...] = ()

    @property
    def made(self) -> Tuple[str, ...]:
        """IDs of all volumes that came with it."""
        return tuple(node for node in (self.image, self.uncertainty, *self.beside.values()) if node)


def consistency_of(params: Mapping[str, Any]) -> str:
    """Return how far an image agrees with what was measured; a server that says no sentence gives a number or none."""
    told, number = str(params.get("consistency") or ""), params.get("contradiction")
    if told:
        return told
    if isinstance(number, (int, float)):
        return f"It agrees with what was measured to {short(float(number))}."
    return "This model adds what was not measured."


def short(number: float) -> str:
    """Return a small number as people write it: `3e-7`."""
    digits, _, exponent = f"{number:.0e}".partition("e")
    return "0" if number == 0 else f"{digits}e{int(exponent)}"

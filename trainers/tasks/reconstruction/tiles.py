"""Overlapped windows, so that a volume of any size is worked on in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Tile:
    """A part of a volume, with what lies around it.

    Attributes:
        seen: the part with its surroundings, as far as the volume reaches.
        kept: the part, in the volume. inner: the part, within what is seen.
    """

    seen: Slices
    kept: Slices
    inner: Slices


def tiles(shape: Sequence[int], side: int, halo: int, multiple: Sequence[int] | None = None) -> list[Tile]:
    """Parts of at most `side` voxels along each axis, which together are the volume, each seen with `halo` around it.

    Args:
        shape: of the volume, voxels.
        side: a multiple of all of `multiple`.
        halo: the same.
        multiple: what is seen has sizes that are multiples of these, if the volume's are.

    Raises:
        ValueError: a side or halo that is no multiple.
    """
    for m in multiple or ():
        if side % m or halo % m:
            raise ValueError(f"Tiles of {side} with {halo} around them do not fit multiples of {m}.")
    axes = [list(_along(n, side, halo)) for n in shape]
    return [Tile(*(tuple(parts) for parts in zip(*chosen, strict=True))) for chosen in product(*axes)]


def finer(slices: Slices, factors: Sequence[int]) -> Slices:
    """The same part on a grid that is finer by whole factors."""
    return tuple(slice(s.start * f, s.stop * f) for s, f in zip(slices, factors, strict=True))


def _along(size: int, side: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, size, side):
        stop = min(size, start + side)
        low, high = max(0, start - halo), min(size, stop + halo)
        yield slice(low, high), slice(start, stop), slice(start - low, stop - low)
